//! The lists that come with the program.

use super::Format;

/// A list that comes with the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltIn {
    /// Its name after `--prompts`.
    pub name: &'static str,
    /// What it is for, in a line.
    pub description: &'static str,
    pub(super) format: Format,
    pub(super) content: &'static str,
}

/// All built-in lists, the default first.
pub const BUILT_IN: [BuiltIn; 3] = [
    BuiltIn {
        name: "quickstart",
        description: "32 varied short questions and tasks",
        format: Format::Text,
        content: include_str!("../../presets/prompts/quickstart.txt"),
    },
    BuiltIn {
        name: "summarise",
        description: "16 short documents behind one shared instruction",
        format: Format::JsonLines,
        content: include_str!("../../presets/prompts/summarise.jsonl"),
    },
    BuiltIn {
        name: "canary",
        description: "32 prompts, each asks to repeat its own code word",
        format: Format::JsonLines,
        content: include_str!("../../presets/prompts/canary.jsonl"),
    },
];
