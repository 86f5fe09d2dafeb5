//! `providers`: who can generate today, and what batching means there.

use std::io::Write;

/// A provider, as the table shows it.
struct Row {
    name: &'static str,
    runs: &'static str,
    batching: &'static str,
    means: &'static str,
}

const PROVIDERS: [Row; 1] = [Row {
    name: "local",
    runs: "GGUF and safetensors models in this process",
    batching: "native",
    means: "the rows of a batch share each forward pass, and a finished row's slot is refilled \
            at once; architectures that only run one row at a time refuse batches and say so",
}];

/// Prints the providers that work today.
///
/// # Errors
/// The output cannot be written.
pub fn list(out: &mut impl Write) -> anyhow::Result<()> {
    for Row { name, runs, batching, means } in PROVIDERS {
        writeln!(out, "{name}\n  runs:     {runs}\n  batching: {batching}: {means}")?;
    }
    writeln!(out, "\nno other provider works in this version")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_local_provider_is_promised() {
        let mut out = Vec::new();
        list(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let names = text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
        assert_eq!(names.collect::<Vec<_>>(), ["local", "no other provider works in this version"]);
    }
}
