//! Writes HTML in which no text can become markup.
//!
//! Markup can only be given as literals of this program (`&'static str`); everything else goes
//! through [`Html::text`] or an attribute, which escape. A template engine would need every
//! template to be trusted; here the types keep texts and markup apart.

use std::fmt::{self, Display, Write};

use crate::text::visible;

/// HTML that grows.
#[derive(Debug, Default)]
pub(super) struct Html {
    text: String,
}

/// Attributes of an element: names are literals, values are escaped.
pub(super) type Attributes<'a> = &'a [(&'static str, &'a dyn Display)];

impl Html {
    /// Markup of this program.
    pub fn raw(&mut self, markup: &'static str) {
        self.text.push_str(markup);
    }

    /// A text of whatever origin. Lines stay lines; nothing in it steers the page or turns the
    /// direction of what follows.
    pub fn text(&mut self, text: &str) {
        for (place, line) in text.split('\n').enumerate() {
            if place > 0 {
                self.text.push('\n');
            }
            let line = visible(line.strip_suffix('\r').unwrap_or(line));
            escape(&line, &mut self.text);
        }
    }

    /// Opens an element.
    pub fn open(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.text.push('<');
        self.text.push_str(name);
        for (name, value) in attributes {
            self.text.push(' ');
            self.text.push_str(name);
            self.text.push_str("=\"");
            let _ = write!(Escaped(&mut self.text), "{value}");
            self.text.push('"');
        }
        self.text.push('>');
    }

    /// Closes it.
    pub fn close(&mut self, name: &'static str) {
        self.text.push_str("</");
        self.text.push_str(name);
        self.text.push('>');
    }

    /// An element that holds a text.
    pub fn element(&mut self, name: &'static str, attributes: Attributes<'_>, text: &str) {
        self.open(name, attributes);
        self.text(text);
        self.close(name);
    }

    /// An element that holds a text and has this class.
    pub fn classed(&mut self, name: &'static str, class: &'static str, text: &str) {
        self.element(name, &[("class", &class)], text);
    }

    /// An element that holds nothing.
    pub fn empty(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.open(name, attributes);
        self.close(name);
    }

    /// What was written.
    pub fn finish(self) -> String {
        self.text
    }

    /// How much was written so far, bytes.
    pub fn len(&self) -> usize {
        self.text.len()
    }
}

/// Escapes what is written to it.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(&visible(text), self.0);
        Ok(())
    }
}

fn escape(text: &str, into: &mut String) {
    for c in text.chars() {
        match c {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '"' => into.push_str("&quot;"),
            '\'' => into.push_str("&#39;"),
            other => into.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_and_no_attribute_becomes_markup() {
        let mut html = Html::default();
        html.element("p", &[("class", &"a\" onload='x")], "<script>&\u{1b}\u{202e}\r\nb");
        assert_eq!(
            html.finish(),
            "<p class=\"a&quot; onload=&#39;x\">&lt;script&gt;&amp;␛⇄\nb</p>"
        );
    }
}
