//! A comparison as text for a terminal, as Markdown and as a page.

use std::fmt::Write;
use std::path::Path;

use unicode_width::UnicodeWidthStr;

use super::{Compared, Comparison};
use crate::report::html;
use crate::report::markdown::escape;

/// The form of a comparison; the extension of the file chooses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For a terminal.
    Text,
    /// For a pull-request comment.
    Markdown,
    /// For a browser.
    Html,
}

impl Form {
    /// The form that belongs to a path's extension.
    ///
    /// # Errors
    /// An extension that is no form of a comparison, with those that are.
    pub fn of(path: &Path) -> anyhow::Result<Self> {
        let extension = path.extension().map(|extension| extension.to_string_lossy());
        match extension.as_deref().map(str::to_ascii_lowercase).as_deref() {
            Some("txt") => Ok(Form::Text),
            Some("md" | "markdown") => Ok(Form::Markdown),
            Some("html" | "htm") => Ok(Form::Html),
            Some(_) | None => {
                let shown = crate::text::visible(&path.display().to_string());
                anyhow::bail!(
                    "no comparison can be written to {shown}: its name must end in .txt, .md or \
                     .html"
                )
            }
        }
    }
}

impl Comparison {
    /// The comparison in a form.
    pub fn render(&self, form: Form) -> String {
        match form {
            Form::Text => self.text(),
            Form::Markdown => self.markdown(),
            Form::Html => html::comparison(self),
        }
    }

    /// For a terminal.
    fn text(&self) -> String {
        let mut text = String::new();
        for head in &self.heads {
            let _ = writeln!(text, "{}  {}", head.letter, head.about);
        }
        section(&mut text, "changed", &self.changed);
        for lane in &self.lanes {
            let mut lines = lane.changed.clone();
            lines.extend(aligned(&cells(lane)));
            lines.extend(lane.method.iter().cloned());
            lines.extend(lane.outputs.iter().cloned());
            section(&mut text, &lane.label, &lines);
        }
        text
    }

    fn markdown(&self) -> String {
        let mut text = String::from("### Comparison\n\n");
        for head in &self.heads {
            let _ =
                writeln!(text, "- **{}** {}", head.letter, escape::inline_up_to(&head.about, 200));
        }
        list(&mut text, "\nChanged:\n", &self.changed);
        for lane in &self.lanes {
            let _ = writeln!(text, "\n#### {}\n", escape::inline(&lane.label));
            list(&mut text, "", &lane.changed);
            let mut rows = cells(lane).into_iter();
            if let Some(heading) = rows.next() {
                let rule = vec!["---".to_owned(); heading.len()];
                let line = |row: Vec<String>| format!("| {} |", row.join(" | "));
                let _ = writeln!(text, "\n{}\n{}", line(heading), line(rule));
                for row in rows {
                    let row = row.iter().map(|cell| escape::cell(cell)).collect();
                    let _ = writeln!(text, "{}", line(row));
                }
                text.push('\n');
            }
            list(&mut text, "", &lane.method);
            list(&mut text, "", &lane.outputs);
        }
        text
    }
}

fn list(text: &mut String, heading: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    if !heading.is_empty() {
        let _ = writeln!(text, "{heading}");
    }
    for line in lines {
        let _ = writeln!(text, "- {}", escape::inline_up_to(line, 400));
    }
}

/// A heading and indented lines; nothing without lines.
fn section(text: &mut String, heading: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{heading}");
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
}

/// The table of a lane with its heading; empty without figures.
pub(in crate::report) fn cells(lane: &Compared) -> Vec<Vec<String>> {
    if lane.figures.is_empty() {
        return Vec::new();
    }
    let told = lane.figures.iter().flat_map(|row| &row.ratios).any(|ratio| ratio.shown.is_some());
    let mut heading = vec![String::new()];
    heading.extend(lane.letters.iter().cloned());
    for letter in lane.letters.iter().skip(1) {
        heading.push(format!("{letter}/{}", lane.letters[0]));
        heading.extend(told.then(|| "shown".to_owned()));
    }
    let rows = lane.figures.iter().map(|row| {
        let mut cells = vec![row.name.to_owned()];
        cells.extend(row.values.iter().cloned());
        for ratio in &row.ratios {
            cells.push(ratio.factor.clone());
            let shown = ratio.shown.clone();
            cells.extend(told.then(|| shown.unwrap_or_else(|| crate::units::UNKNOWN.to_owned())));
        }
        cells
    });
    [heading].into_iter().chain(rows).collect()
}

/// The cells in columns: the first to the left, the others to the right.
fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let mut line = pad(&row[0], widths[0], false);
        for column in 1..row.len() {
            line.push_str("   ");
            line.push_str(&pad(&row[column], widths[column], true));
        }
        line
    };
    rows.iter().map(line).collect()
}

fn pad(text: &str, width: usize, to_the_right: bool) -> String {
    let blank = " ".repeat(width.saturating_sub(text.width()));
    if to_the_right { format!("{blank}{text}") } else { format!("{text}{blank}") }
}
