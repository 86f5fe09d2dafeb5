//! Finds what was meant by a few typed letters: they must occur in this order, and whole words
//! and beginnings of words count more.

/// How well a text matches; `None` where the letters do not occur in order. More is better.
/// Nothing typed matches everything alike.
pub fn score(typed: &str, text: &str) -> Option<i64> {
    let mut score = 0;
    for word in typed.split_whitespace() {
        score += word_score(&lower(word), &lower(text))?;
    }
    Some(score)
}

fn lower(text: &str) -> Vec<char> {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// The best match that begins at any place of the first letter.
fn word_score(word: &[char], text: &[char]) -> Option<i64> {
    let starts = text.iter().enumerate().filter(|(_, c)| Some(*c) == word.first());
    starts.filter_map(|(start, _)| from(word, text, start)).max()
}

fn from(word: &[char], text: &[char], start: usize) -> Option<i64> {
    let mut at = start;
    let mut score = 0;
    for (place, letter) in word.iter().enumerate() {
        let found = at + text[at..].iter().position(|c| c == letter)?;
        let begins = found == 0 || !text[found - 1].is_alphanumeric();
        let follows = place > 0 && found == at;
        score += 1 + if begins { 6 } else { 0 } + if follows { 4 } else { 0 };
        score -= i64::from(place > 0 && !follows) * (found - at).min(10) as i64 / 2;
        at = found + 1;
    }
    Some(score)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best<'a>(typed: &str, texts: &[&'a str]) -> &'a str {
        let scored = texts.iter().filter_map(|text| Some((score(typed, text)?, *text)));
        scored.max_by_key(|(score, _)| *score).unwrap().1
    }

    #[test]
    fn letters_in_order_match_and_words_match_best() {
        let texts = ["write the report to a file", "the row before", "export", "all keys"];
        assert_eq!(best("export", &texts), "export");
        assert_eq!(best("report", &texts), "write the report to a file");
        assert_eq!(best("rb", &texts), "the row before");
        assert_eq!(best("KEYS", &texts), "all keys");
        assert_eq!(score("zz", "all keys"), None);
        assert_eq!(score("", "all keys"), Some(0));
        assert_eq!(score("ß日\u{301}", ""), None);
    }
}
