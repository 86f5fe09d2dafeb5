//! How the known byte-level vocabularies split a text into words before merging.
//!
//! GGUF files name the splitting in `tokenizer.ggml.pre`. The names and what they mean are
//! llama.cpp's (`llama-vocab.cpp`), except that where llama.cpp itself only approximates the
//! pattern of the model's tokenizer.json (letter case in `tekken` and `gpt-4o`), the model's
//! pattern is taken. Names that are not here are refused: a wrong splitting gives plausible
//! and slightly wrong tokens.

use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior};

/// What a name in `tokenizer.ggml.pre` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PreTokenizer {
    /// Patterns applied one after the other, each to the parts that the one before left.
    patterns: &'static [&'static str],
    /// A word that is a token is not put together from merges.
    pub(super) ignore_merges: bool,
    /// Whether a begin token is added where the file does not say.
    pub(super) add_bos: bool,
}

const DIGIT: &str = r"\p{N}";
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = concat!(
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const QWEN2: &str = concat!(
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const QWEN35: &str = concat!(
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])",
    r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+",
    r"|\s+(?!\S)|\s+"
);
const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const GPT4O: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const SEED_CODER: &str = concat!(
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+",
    r"|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const DEEPSEEK3: [&str; 3] = [
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    concat!(
        r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##,
        r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
];
const DEFAULT: [&str; 4] = [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"];

const fn plain(patterns: &'static [&'static str]) -> PreTokenizer {
    PreTokenizer { patterns, ignore_merges: false, add_bos: false }
}

impl PreTokenizer {
    /// What `name` stands for, if it is known.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "default" => plain(&DEFAULT),
            "gpt-2" | "phi-2" | "mpt" | "olmo" | "jais" | "trillion" | "granite-docling"
            | "exaone4" | "gigachat" | "a.x-4.0" | "mellum" => plain(&[GPT2]),
            "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone"
            | "minerva-7b" | "mellum2" => plain(&[DIGIT, GPT2]),
            "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral"
            | "midm-2.0" | "lfm2" => {
                PreTokenizer { patterns: &[LLAMA3], ignore_merges: true, add_bos: true }
            }
            "dbrx" | "smaug-bpe" | "glm4" | "chatglm-bpe" => plain(&[LLAMA3]),
            "qwen2" | "deepseek-r1-qwen" | "kormo" | "f2llmv2" | "megrez" | "stablelm2"
            | "hunyuan" | "solar-open" | "grok-2" => plain(&[QWEN2]),
            "qwen35" => plain(&[QWEN35]),
            "tekken" => PreTokenizer { patterns: &[TEKKEN], ignore_merges: true, add_bos: true },
            "gpt-4o" | "llama4" | "kanana2" => plain(&[GPT4O]),
            "seed-coder" => plain(&[SEED_CODER]),
            "deepseek-v3" | "hunyuan-dense" => plain(&DEEPSEEK3),
            _ => return None,
        })
    }

    /// The library's pre-tokenizer that splits so and then writes bytes as characters.
    pub(super) fn build(self) -> tokenizers::Result<PreTokenizerWrapper> {
        let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
        for pattern in self.patterns {
            let pattern = SplitPattern::Regex((*pattern).to_owned());
            steps.push(Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?.into());
        }
        steps.push(ByteLevel::new(false, false, false).into());
        Ok(Sequence::new(steps).into())
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _};

    use super::*;
    use crate::engine::tokenizer::byte_alphabet;

    fn words(name: &str, text: &str) -> Vec<String> {
        let pre_tokenizer = PreTokenizer::named(name).unwrap().build().unwrap();
        let mut split = PreTokenizedString::from(text);
        pre_tokenizer.pre_tokenize(&mut split).unwrap();
        split
            .get_splits(OffsetReferential::Original, OffsetType::Byte)
            .into_iter()
            .map(|(word, _, _)| String::from_utf8(byte_alphabet::decode(word)).unwrap())
            .collect()
    }

    #[test]
    fn smollm_takes_digits_one_by_one() {
        assert_eq!(
            words("smollm", "in 2024, it's"),
            ["in", " ", "2", "0", "2", "4", ",", " it", "'s"]
        );
        assert_eq!(words("smollm", "a  b\n\n c "), ["a", " ", " b", "\n\n", " c", " "]);
    }

    #[test]
    fn llama3_takes_digits_in_threes_and_line_ends_with_punctuation() {
        assert_eq!(
            words("llama-bpe", "IT'S 12345!\n\n ok"),
            ["IT", "'S", " ", "123", "45", "!\n\n", " ok"]
        );
    }

    #[test]
    fn qwen2_takes_digits_one_by_one_and_any_mark_before_letters() {
        assert_eq!(words("qwen2", "x=42 (ab)"), ["x", "=", "4", "2", " (", "ab", ")"]);
        assert_eq!(words("qwen2", "\tab"), ["\tab"]);
        // a combining mark ends a word in qwen2 and belongs to it in qwen35
        assert_eq!(words("qwen2", "e\u{301}a"), ["e", "\u{301}a"]);
        assert_eq!(words("qwen35", "e\u{301}a"), ["e\u{301}a"]);
    }

    #[test]
    fn tekken_and_gpt_4o_split_where_the_case_changes() {
        assert_eq!(words("tekken", "camelCaseÉCOLE"), ["camel", "Case", "ÉCOLE"]);
        assert_eq!(words("gpt-4o", "don't CamelÉcole"), ["don't", " Camel", "École"]);
        assert_eq!(words("tekken", "1234"), ["1", "2", "3", "4"]);
    }

    #[test]
    fn deepseek_v3_splits_digits_and_cjk_first() {
        assert_eq!(words("deepseek-v3", "v3 中文1234"), ["v", "3", " ", "中文", "123", "4"]);
    }

    #[test]
    fn every_known_name_builds_and_keeps_the_whole_text() {
        let text = "a1 b\u{301}\r\n\t中文 don't 😀\u{a0}\u{0}x";
        for name in [
            "default",
            "gpt-2",
            "smollm",
            "llama-bpe",
            "dbrx",
            "qwen2",
            "qwen35",
            "tekken",
            "gpt-4o",
            "seed-coder",
            "deepseek-v3",
        ] {
            assert_eq!(words(name, text).concat(), text, "{name}");
        }
    }

    #[test]
    fn an_unknown_name_stands_for_nothing() {
        assert_eq!(PreTokenizer::named("falcon"), None);
        assert_eq!(PreTokenizer::named(""), None);
    }
}
