//! Plain text: a prompt a line, or blocks between lines that are exactly `---`.

use super::PromptError;
use super::list::ListBuilder;
use super::record::Record;

const SEPARATOR: &str = "---";

pub(super) fn read(text: &str, list: &mut ListBuilder<'_>) -> Result<(), PromptError> {
    list.refuse_column()?;
    if text.lines().any(|line| line == SEPARATOR) {
        read_blocks(text, list)
    } else {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        lines.into_iter().try_for_each(|(place, line)| list.push(place + 1, Record::text(line)))
    }
}

fn read_blocks(text: &str, list: &mut ListBuilder<'_>) -> Result<(), PromptError> {
    let mut block = Block::default();
    for (place, line) in text.lines().enumerate() {
        if line == SEPARATOR {
            block.flush(list)?;
        } else {
            block.add(place + 1, line);
        }
    }
    block.flush(list)
}

/// The lines since the last separator, without blank ones around them.
#[derive(Default)]
struct Block {
    first_line: usize,
    text: String,
    /// Blank lines seen that belong to the block only if another line follows.
    blank: usize,
}

impl Block {
    fn add(&mut self, number: usize, line: &str) {
        if line.trim().is_empty() {
            self.blank += 1;
            return;
        }
        if self.text.is_empty() {
            self.first_line = number;
        } else {
            self.text.extend(std::iter::repeat_n('\n', self.blank + 1));
        }
        self.blank = 0;
        self.text.push_str(line);
    }

    fn flush(&mut self, list: &mut ListBuilder<'_>) -> Result<(), PromptError> {
        let block = std::mem::take(self);
        if block.text.is_empty() {
            return Ok(());
        }
        list.push(block.first_line, Record::text(block.text))
    }
}
