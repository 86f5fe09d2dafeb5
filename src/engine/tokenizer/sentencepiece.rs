//! SentencePiece BPE over token scores, as the `llama` vocabularies of GGUF files have it.
//!
//! Neighbouring symbols whose concatenation is a token are joined, the highest score first and
//! the leftmost among equals. A list of merges, which is what the `tokenizers` library takes,
//! cannot say "leftmost among equals" for two pairs that make the same token, so text such as
//! a run of one letter would come out differently.
//! Source: `sentencepiece/src/bpe_model.cc` (`Model::SampleEncode`).

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use tokenizers::Token;

/// A vocabulary with scores.
#[derive(Debug)]
pub(super) struct SentencePiece {
    /// Id by text.
    pub(super) ids: HashMap<String, u32>,
    /// Score by id.
    pub(super) scores: Vec<f32>,
    /// The token of each single byte, for characters that are no token.
    pub(super) bytes: Vec<u32>,
    /// Whether a text, and the text after a special token, is given a space to begin with.
    pub(super) space_prefix: bool,
}

/// A stretch of the text; symbols form a doubly linked list over indices.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    start: usize,
    /// 0 once it has been joined to its left neighbour.
    len: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

/// Two neighbours that may be joined.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    score: f32,
    left: usize,
    right: usize,
    /// Their length together, by which an outdated candidate is known.
    len: usize,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

impl SentencePiece {
    /// The tokens of a text that holds no special token.
    pub(super) fn tokenize(&self, text: &str) -> Vec<Token> {
        if text.is_empty() {
            return Vec::new();
        }
        let prefix = if self.space_prefix { "▁" } else { "" };
        let text = format!("{prefix}{}", text.replace(' ', "▁"));
        let symbols = self.join(&text, characters(&text));
        let mut tokens = Vec::new();
        let mut at = Some(0);
        while let Some(symbol) = at.map(|index: usize| symbols[index]) {
            self.push(&text, symbol, &mut tokens);
            at = symbol.next;
        }
        tokens
    }

    /// Joins neighbours for as long as any two of them make a token.
    fn join(&self, text: &str, mut symbols: Vec<Symbol>) -> Vec<Symbol> {
        let mut queue: BinaryHeap<Candidate> = (1..symbols.len())
            .filter_map(|right| self.candidate(text, &symbols, Some(right - 1), Some(right)))
            .collect();
        while let Some(best) = queue.pop() {
            let (left, right) = (symbols[best.left], symbols[best.right]);
            if left.len == 0 || right.len == 0 || left.len + right.len != best.len {
                continue;
            }
            symbols[best.left].len = best.len;
            symbols[best.left].next = right.next;
            symbols[best.right].len = 0;
            if let Some(next) = right.next {
                symbols[next].previous = Some(best.left);
            }
            queue.extend(self.candidate(text, &symbols, left.previous, Some(best.left)));
            queue.extend(self.candidate(text, &symbols, Some(best.left), right.next));
        }
        symbols
    }

    fn candidate(
        &self,
        text: &str,
        symbols: &[Symbol],
        left: Option<usize>,
        right: Option<usize>,
    ) -> Option<Candidate> {
        let (left, right) = (left?, right?);
        let start = symbols[left].start;
        let len = symbols[left].len + symbols[right].len;
        let id = *self.ids.get(&text[start..start + len])?;
        Some(Candidate { score: self.scores[id as usize], left, right, len })
    }

    fn push(&self, text: &str, symbol: Symbol, tokens: &mut Vec<Token>) {
        let text = &text[symbol.start..symbol.start + symbol.len];
        match self.ids.get(text) {
            Some(id) => tokens.push(token(*id)),
            None => tokens.extend(text.bytes().map(|byte| token(self.bytes[usize::from(byte)]))),
        }
    }
}

/// Only the id of a token is ever used.
fn token(id: u32) -> Token {
    Token::new(id, String::new(), (0, 0))
}

/// One symbol a character.
fn characters(text: &str) -> Vec<Symbol> {
    let count = text.chars().count();
    let symbol = |(index, (start, character)): (usize, (usize, char))| Symbol {
        start,
        len: character.len_utf8(),
        previous: index.checked_sub(1),
        next: Some(index + 1).filter(|next| *next < count),
    };
    text.char_indices().enumerate().map(symbol).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Tokens `<0x00>`…`<0xFF>`, then `words` with falling scores.
    fn model(words: &[&str], space_prefix: bool) -> SentencePiece {
        let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
        let tokens: Vec<String> = bytes.chain(words.iter().map(|word| word.to_string())).collect();
        SentencePiece {
            scores: (0..tokens.len()).map(|id| -(id as f32)).collect(),
            ids: tokens.into_iter().zip(0..).collect(),
            bytes: (0..256).collect(),
            space_prefix,
        }
    }

    fn texts(model: &SentencePiece, text: &str) -> Vec<String> {
        let by_id: HashMap<u32, &String> = model.ids.iter().map(|(text, id)| (*id, text)).collect();
        model.tokenize(text).iter().map(|token| by_id[&token.id].clone()).collect()
    }

    #[test]
    fn the_best_score_is_joined_first_and_the_leftmost_among_equals() {
        let model = model(&["▁", "a", "b", "ab", "aa", "aaa", "▁a"], false);
        assert_eq!(texts(&model, "aab"), ["a", "ab"]);
        assert_eq!(texts(&model, "aaaaa"), ["aa", "aaa"]);
        assert_eq!(texts(&model, "b a"), ["b", "▁a"]);
    }

    #[test]
    fn a_space_is_put_before_the_text_only_where_the_model_wants_it() {
        let words = ["▁", "a", "▁a"];
        assert_eq!(texts(&model(&words, true), "a"), ["▁a"]);
        assert_eq!(texts(&model(&words, true), " a"), ["▁", "▁a"]);
        assert_eq!(texts(&model(&words, false), "a"), ["a"]);
        assert_eq!(texts(&model(&words, true), ""), [] as [&str; 0]);
    }

    #[test]
    fn characters_that_are_no_token_fall_apart_into_bytes() {
        let model = model(&["▁", "a"], false);
        assert_eq!(texts(&model, "aé\n"), ["a", "<0xC3>", "<0xA9>", "<0x0A>"]);
    }

    /// Looks at every pair of neighbours at each step.
    fn joined_naively(model: &SentencePiece, text: &str) -> Vec<String> {
        let mut parts: Vec<String> = text.chars().map(String::from).collect();
        loop {
            let score = |at: usize| {
                let joined = parts[at].clone() + &parts[at + 1];
                model.ids.get(&joined).map(|id| model.scores[*id as usize])
            };
            let best = (0..parts.len().saturating_sub(1))
                .filter_map(|at| score(at).map(|score| (score, at)))
                .min_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let Some((_, at)) = best else { return parts };
            let right = parts.remove(at + 1);
            parts[at].push_str(&right);
        }
    }

    proptest! {
        #[test]
        fn joining_equals_the_naive_search(text in "[abc]{0,40}") {
            let model = model(
                &["a", "b", "c", "ab", "aa", "bc", "aab", "abc", "aaa", "cab", "abab", "ca"],
                false,
            );
            prop_assert_eq!(texts(&model, &text), joined_naively(&model, &text));
        }
    }
}
