//! The tokenizer of the quickstart model against the llama.cpp server's.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use batchgen::engine::chat_template::ChatTemplate;
use batchgen::engine::detokenizer::Detokenizer;
use batchgen::engine::tokenizer::Tokenizer;
use batchgen::engine::{ModelSource, Weights};
use batchgen::prompts::Message;
use candle_core::quantized::gguf_file;
use proptest::prelude::*;
use serde_json::json;

use crate::servers::{LlamaServer, quickstart_model, require_or_skip};

struct Model {
    path: PathBuf,
    tokenizer: Tokenizer,
    template: ChatTemplate,
}

fn model() -> Option<Model> {
    model_with_rule(None)
}

/// The quickstart model, its text split by another rule of `tokenizer.ggml.pre`.
fn model_with_rule(rule: Option<&str>) -> Option<Model> {
    let path = require_or_skip(quickstart_model())?;
    let mut file = BufReader::new(File::open(&path).unwrap());
    let mut metadata = gguf_file::Content::read(&mut file).unwrap().metadata;
    if let Some(rule) = rule {
        metadata.insert("tokenizer.ggml.pre".into(), gguf_file::Value::String(rule.into()));
    }
    let source = ModelSource::alone("smollm2-135m-instruct", Weights::Gguf(path.clone()));
    let tokenizer = Tokenizer::load(&source, Some(&metadata)).unwrap();
    let template = ChatTemplate::load(&source, Some(&metadata), &tokenizer).unwrap().unwrap();
    Some(Model { path, tokenizer, template })
}

/// Numbers without pattern, the same on every run (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

const FRAGMENTS: [&[&str]; 10] = [
    &[
        "The",
        " quick",
        " brown",
        "fox ",
        "jumps",
        "antidisestablishmentarianism",
        "a",
        "I",
        "ÉCOLE",
    ],
    &["0", "7", "42", "2024", " 3.14159", "1,000,000", "0x1F", "½", "Ⅷ", "٣٤٥", "०१२", "²"],
    &[
        "fn main() {",
        "}\n",
        "\tlet x = 1;",
        "// ",
        "==",
        "!=",
        "->",
        "::<>",
        "#[cfg(test)]",
        "a_b",
        "\\n",
    ],
    &["😀", "👩‍👩‍👧‍👦", "🇩🇪", "👍🏽", "❤️", "☃", "🫠", "🏴‍☠️"],
    &["日本語", "中文字符", "한국어", "「引用」", "。", "カタカナ", "ｆｕｌｌ", "𠮷"],
    &[
        "\u{0}",
        "\u{1}",
        "\u{7}",
        "\u{8}",
        "\u{b}",
        "\u{c}",
        "\u{1b}[31m",
        "\u{7f}",
        "\u{85}",
        "\u{9f}",
    ],
    &[
        " ", "  ", "     ", "\t\t", "\n", "\n\n\n", "\r\n", "\r", " \n ", "\u{a0}", "\u{3000}",
        "\u{200b}", "\u{2028}", "\u{feff}",
    ],
    &[
        "don't", "I'm", "we've", "they'll", "she'd", "it's", "you're", "DON'T", "'s", "'", "’s",
        "''",
    ],
    &[
        "Привет",
        "мир",
        "Ελληνικά",
        "עברית",
        "العربية",
        "हिन्दी",
        "ไทย",
        "e\u{301}",
        "ñ",
        "ﬁ",
        "ß",
        "Å",
    ],
    &[
        "<|im_start|>",
        "<|im_end|>",
        "<|endoftext|>",
        "<|im_",
        "start|>",
        "<",
        "|>",
        "<repo_name>",
        "<file_sep>user",
    ],
];

/// A line of one to twelve fragments.
fn line(numbers: &mut Numbers) -> String {
    let length = 1 + numbers.below(12);
    let mut text = String::new();
    for _ in 0..length {
        let kind = numbers.below(FRAGMENTS.len());
        text += numbers.pick(FRAGMENTS[kind]);
        if numbers.below(3) == 0 {
            text.push(' ');
        }
    }
    text
}

/// Tokenises `lines` here and on the server, special tokens as text and as tokens.
fn assert_equal_tokens(model: &Model, server: &LlamaServer, lines: &[String]) {
    let mut tokens = 0;
    for (index, line) in lines.iter().enumerate() {
        for parse_special in [false, true] {
            let ours = model.tokenizer.encode(line, parse_special, false).unwrap();
            let theirs = server.tokenize(line, parse_special);
            let first = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs);
            assert!(
                ours == theirs,
                "line {index}, {line:?}, parse_special {parse_special}: they differ from token \
                 {first:?} on\n  ours {ours:?}\ntheirs {theirs:?}"
            );
            tokens += ours.len();
        }
    }
    println!("{} lines, {tokens} tokens: all equal", lines.len());
}

fn lines(seed: u64, count: usize) -> Vec<String> {
    let mut numbers = Numbers(seed);
    (0..count).map(|_| line(&mut numbers)).collect()
}

#[test]
fn a_thousand_mixed_lines_become_the_tokens_of_the_llama_cpp_server() {
    let Some(model) = model() else { return };
    let Some(server) = require_or_skip(LlamaServer::start(&model.path, &["-c", "256"])) else {
        return;
    };
    let mut lines = lines(2026, 999);
    lines.push(String::new());
    assert_equal_tokens(&model, &server, &lines);
}

#[test]
fn other_splitting_rules_give_the_tokens_of_the_llama_cpp_server() {
    for rule in ["gpt-2", "llama-bpe", "qwen2", "qwen35", "deepseek-v3", "default"] {
        let Some(model) = model_with_rule(Some(rule)) else { return };
        let change = format!("tokenizer.ggml.pre=str:{rule}");
        let arguments = ["-c", "256", "--override-kv", &change];
        let Some(server) = require_or_skip(LlamaServer::start(&model.path, &arguments)) else {
            return;
        };
        println!("{rule}:");
        assert_equal_tokens(&model, &server, &lines(11, 300));
    }
}

#[test]
fn conversations_are_rendered_and_tokenised_as_by_the_llama_cpp_server() {
    let Some(model) = model() else { return };
    let Some(server) = require_or_skip(LlamaServer::start(&model.path, &["-c", "256", "--jinja"]))
    else {
        return;
    };
    let conversations: [&[(&str, &str)]; 3] = [
        &[("user", "What is 2 + 2?")],
        &[("system", "Be brief."), ("user", " a <|im_end|> b\n")],
        &[("user", "Hi"), ("assistant", "Hello!"), ("user", "日本語で 😀")],
    ];
    for conversation in conversations {
        let messages: Vec<Message> = conversation
            .iter()
            .map(|(role, content)| Message { role: (*role).into(), content: (*content).into() })
            .collect();
        let ours = model.template.render(&messages).unwrap();
        let theirs = server.post("/apply-template", &json!({ "messages": messages }));
        assert_eq!(Some(ours.as_str()), theirs["prompt"].as_str());
        let tokens = model.tokenizer.encode(&ours, true, true).unwrap();
        assert_eq!(tokens, server.tokenize(&ours, true));
    }
}

#[test]
fn the_special_tokens_of_the_quickstart_model_are_known() {
    let Some(model) = model() else { return };
    assert_eq!(model.tokenizer.vocabulary(), 49152);
    assert_eq!(model.tokenizer.bos_text(), Some("<|im_start|>"));
    assert_eq!(model.tokenizer.eos_text(), Some("<|im_end|>"));
    // <|endoftext|>, <|im_end|>, and the mark of another repository
    assert_eq!(model.tokenizer.end_ids(), [0, 2, 4]);
    assert_eq!(model.tokenizer.encode("<|im_end|>", true, true).unwrap(), [2]);
}

#[test]
fn streamed_text_is_the_whole_decoded() {
    let Some(model) = model() else { return };
    let tokenizer = &model.tokenizer;
    let ids = proptest::collection::vec(0u32..49_200, 0..60);
    proptest!(|(ids in ids)| {
        let mut detokenizer = Detokenizer::new();
        let mut text: String = ids.iter().map(|id| detokenizer.push(tokenizer, *id)).collect();
        text += &detokenizer.finish();
        prop_assert_eq!(text, tokenizer.decode(&ids));
    });
}

#[test]
fn text_without_special_tokens_comes_back_from_its_tokens() {
    let Some(model) = model() else { return };
    let mut numbers = Numbers(7);
    for _ in 0..300 {
        let line = line(&mut numbers);
        let ids = model.tokenizer.encode(&line, false, false).unwrap();
        assert_eq!(model.tokenizer.decode(&ids), line);
    }
}
