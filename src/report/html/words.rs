//! Two texts word by word: what only one of them has is marked.

use similar::{ChangeTag, TextDiff};

use super::markup::Html;

/// Longest text that is compared word by word, in characters: the effort grows with the square
/// of the difference.
pub(super) const MOST_CHARS: usize = 3000;

/// Writes `text` with what `reference` has besides struck out, and what it has itself marked.
pub(super) fn difference(reference: &str, text: &str, html: &mut Html) {
    let diff = TextDiff::from_words(reference, text);
    let mut open: Option<ChangeTag> = None;
    for change in diff.iter_all_changes() {
        if open != Some(change.tag()) {
            end(open, html);
            begin(change.tag(), html);
            open = Some(change.tag());
        }
        html.text(change.value());
    }
    end(open, html);
}

fn begin(tag: ChangeTag, html: &mut Html) {
    match tag {
        ChangeTag::Equal => {}
        ChangeTag::Delete => html.raw("<del>"),
        ChangeTag::Insert => html.raw("<ins>"),
    }
}

fn end(tag: Option<ChangeTag>, html: &mut Html) {
    match tag {
        None | Some(ChangeTag::Equal) => {}
        Some(ChangeTag::Delete) => html.raw("</del>"),
        Some(ChangeTag::Insert) => html.raw("</ins>"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_only_one_text_has_are_marked() {
        let mut html = Html::default();
        difference("the Nile flows north", "the <Rhine> flows north", &mut html);
        assert_eq!(html.finish(), "the <del>Nile</del><ins>&lt;Rhine&gt;</ins> flows north");
    }
}
