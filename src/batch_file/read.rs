//! Reads files of results, a line at a time, each of a limited length.

use std::io::{self, BufRead, Read};

use super::ResultLine;

/// The longest line that is read, in bytes.
const MOST_LINE: u64 = 64 << 20;

/// Hands every line that is not blank to `take`, with its number from 1.
///
/// # Errors
/// The reader fails. A line that cannot be used is no error here: `take` gets the reason. After
/// a line that is too long nothing more is read.
pub fn read_results(
    mut reader: impl BufRead,
    mut take: impl FnMut(usize, Result<ResultLine, String>),
) -> io::Result<()> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = (&mut reader).take(MOST_LINE + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        if read as u64 > MOST_LINE {
            let reason = format!("longer than {MOST_LINE} bytes; what follows was not read");
            take(number, Err(reason));
            break;
        }
        if !line.iter().all(u8::is_ascii_whitespace) {
            take(number, ResultLine::parse(&line));
        }
    }
    Ok(())
}
