//! What the user should know, kept until it was seen.

use crate::text::shortened;

/// The most notices kept; further ones are counted.
const MOST: usize = 500;

/// The most characters of one notice: a server's page of errors says no more than its beginning.
const MOST_CHARS: usize = 4_000;

/// How grave a notice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something was done.
    Info,
    /// Something to look at.
    Warning,
    /// Something failed.
    Error,
}

/// One notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// How grave.
    pub level: Level,
    /// What failed, on what, and what to try.
    pub text: String,
    /// How often it was said in a row.
    pub times: usize,
    seen: bool,
}

/// All notices, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Notices {
    list: Vec<Notice>,
    dropped: usize,
}

impl Notices {
    /// Adds a notice; a repetition of the last one is counted.
    pub fn add(&mut self, level: Level, text: impl Into<String>) {
        let text = shortened(&text.into(), MOST_CHARS);
        if let Some(last) = self.list.last_mut().filter(|last| last.text == text) {
            last.times += 1;
            last.seen = false;
            return;
        }
        if self.list.len() == MOST {
            self.dropped += 1;
            return;
        }
        self.list.push(Notice { level, text, times: 1, seen: false });
    }

    /// All of them, oldest first.
    pub fn all(&self) -> &[Notice] {
        &self.list
    }

    /// How many were too many to keep.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// Those the user has not seen.
    pub fn unseen(&self) -> impl Iterator<Item = &Notice> {
        self.list.iter().filter(|notice| !notice.seen)
    }

    /// The gravest of the unseen ones, the oldest of those.
    pub fn most_urgent(&self) -> Option<&Notice> {
        self.unseen().min_by_key(|notice| std::cmp::Reverse(notice.level))
    }

    /// The user has gone on: what was merely said needs no further attention.
    pub fn go_on(&mut self) {
        for notice in self.list.iter_mut().filter(|notice| notice.level == Level::Info) {
            notice.seen = true;
        }
    }

    /// The user has seen all of them.
    pub fn mark_seen(&mut self) {
        for notice in &mut self.list {
            notice.seen = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_unseen_notice_is_shown_until_it_was_seen() {
        let mut notices = Notices::default();
        notices.add(Level::Warning, "first");
        notices.add(Level::Error, "second");
        notices.add(Level::Error, "third");
        assert_eq!(notices.most_urgent().map(|notice| notice.text.as_str()), Some("second"));
        notices.add(Level::Info, "said");
        notices.go_on();
        assert_eq!(notices.unseen().count(), 3);
        notices.mark_seen();
        assert_eq!(notices.most_urgent(), None);
        assert_eq!(notices.all().len(), 4);
    }

    #[test]
    fn repetitions_are_counted_and_the_list_is_bounded() {
        let mut notices = Notices::default();
        notices.add(Level::Info, "again");
        notices.add(Level::Info, "again");
        assert_eq!(notices.all()[0].times, 2);
        for number in 0..1000 {
            notices.add(Level::Info, number.to_string());
        }
        assert_eq!((notices.all().len(), notices.dropped()), (500, 501));
    }
}
