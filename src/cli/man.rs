//! The manual page, made from the command line's own definition.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_mangen::Man;

use super::args::Cli;

/// Writes the page: the program, then each command with its flags.
///
/// # Errors
/// The output cannot be written.
pub(super) fn render(out: &mut impl Write) -> io::Result<()> {
    let mut command = Cli::command();
    command.build();
    Man::new(command.clone()).render(out)?;
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let name = sub.get_name().to_uppercase();
        writeln!(out, ".SH \"COMMAND {name}\"")?;
        let man = Man::new(sub.clone());
        man.render_synopsis_section(out)?;
        man.render_description_section(out)?;
        man.render_options_section(out)?;
    }
    Ok(())
}
