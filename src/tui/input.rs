//! A line of text that is being typed. It does not know what the text means.

use unicode_segmentation::GraphemeCursor;

use super::keymap::Action;
use super::text;

/// The longest text that can be typed or pasted, in bytes.
const MOST_BYTES: usize = 4096;

/// A text and the cursor in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextInput {
    text: String,
    /// Byte offset, always between graphemes.
    cursor: usize,
}

impl TextInput {
    /// Begins with this text and the cursor behind it.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { cursor: text.len(), text }
    }

    /// What was typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Types a text; control characters, line breaks among them, are left out.
    pub fn insert(&mut self, typed: &str) {
        for c in typed.chars().filter(|c| !c.is_control()) {
            if self.text.len() + c.len_utf8() > MOST_BYTES {
                return;
            }
            self.text.insert(self.cursor, c);
            self.cursor += c.len_utf8();
        }
        // a combining character may have joined what stands before it
        self.cursor = self.boundary_at_or_after(self.cursor);
    }

    /// Does an editing action; whether it was one.
    pub fn edit(&mut self, action: Action) -> bool {
        match action {
            Action::CursorLeft => self.cursor = self.before(),
            Action::CursorRight => self.cursor = self.after(),
            Action::CursorHome => self.cursor = 0,
            Action::CursorEnd => self.cursor = self.text.len(),
            Action::DeleteBack => {
                let from = self.before();
                self.text.drain(from..self.cursor);
                self.cursor = self.boundary_at_or_after(from);
            }
            Action::DeleteForward => {
                let to = self.after();
                self.text.drain(self.cursor..to);
                self.cursor = self.boundary_at_or_after(self.cursor);
            }
            Action::DeleteAll => *self = Self::default(),
            _ => return false,
        }
        true
    }

    /// The part around the cursor that fits into `columns`, and the cursor's column in it.
    pub fn view(&self, columns: usize) -> (String, usize) {
        let mut shown = text::fit_end(&self.text[..self.cursor], columns.saturating_sub(1));
        let column = text::width(&shown);
        shown.push_str(&text::fit(&self.text[self.cursor..], columns.saturating_sub(column)));
        (shown, column)
    }

    fn before(&self) -> usize {
        let mut cursor = GraphemeCursor::new(self.cursor, self.text.len(), true);
        cursor.prev_boundary(&self.text, 0).ok().flatten().unwrap_or(0)
    }

    fn after(&self) -> usize {
        let mut cursor = GraphemeCursor::new(self.cursor, self.text.len(), true);
        cursor.next_boundary(&self.text, 0).ok().flatten().unwrap_or(self.text.len())
    }

    fn boundary_at_or_after(&self, place: usize) -> usize {
        let mut cursor = GraphemeCursor::new(place, self.text.len(), true);
        match cursor.is_boundary(&self.text, 0) {
            Ok(true) => place,
            Ok(false) | Err(_) => {
                cursor.next_boundary(&self.text, 0).ok().flatten().unwrap_or(self.text.len())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn typing_happens_at_the_cursor() {
        let mut input = TextInput::new("ac");
        input.edit(Action::CursorLeft);
        input.insert("b\u{1b}\n");
        assert_eq!(input.text(), "abc");
        input.edit(Action::DeleteBack);
        input.edit(Action::DeleteForward);
        assert_eq!(input.text(), "a");
    }

    #[test]
    fn the_cursor_steps_over_whole_characters() {
        let mut input = TextInput::new("e\u{301}日");
        input.edit(Action::CursorLeft);
        input.edit(Action::DeleteBack);
        assert_eq!(input.text(), "日");
    }

    #[test]
    fn the_end_of_a_long_text_is_seen_while_typing() {
        let (shown, column) = TextInput::new("/a/very/long/path/report.json").view(12);
        assert_eq!((shown.as_str(), column), ("…eport.json", 11));
    }

    proptest! {
        #[test]
        fn no_editing_panics(
            typed in proptest::collection::vec(any::<String>(), 0..4),
            actions in proptest::collection::vec(0usize..7, 0..30),
            columns in 0usize..20,
        ) {
            let all = [
                Action::CursorLeft, Action::CursorRight, Action::CursorHome, Action::CursorEnd,
                Action::DeleteBack, Action::DeleteForward, Action::DeleteAll,
            ];
            let mut input = TextInput::default();
            let mut typed = typed.iter();
            for action in actions {
                if action == 6 {
                    input.insert(typed.next().map_or("é\u{301}", String::as_str));
                }
                input.edit(all[action]);
                input.insert("\u{301}x🇫");
                let (shown, column) = input.view(columns);
                prop_assert!(column <= text::width(&shown));
            }
        }
    }
}
