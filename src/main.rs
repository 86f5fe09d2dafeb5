//! The workbench and its commands: parses, calls one function, exits.

fn main() {}
