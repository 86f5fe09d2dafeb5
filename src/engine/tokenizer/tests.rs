//! Tokenizers out of metadata and files, sound and damaged.

use std::fs;

use candle_core::quantized::gguf_file::Value;
use proptest::prelude::*;
use serde_json::json;

use super::samples::{
    self, Entries, Trained, byte_level, byte_level_entries, integers, load, texts,
};
use super::*;
use crate::engine::Weights;

fn id(token: &str) -> u32 {
    samples::byte_level_tokens().iter().position(|other| other == token).unwrap() as u32
}

fn ids(tokens: &[&str]) -> Vec<u32> {
    tokens.iter().map(|token| id(token)).collect()
}

/// The error for the byte-level sample with one entry changed.
fn failure(key: &str, value: Option<Value>) -> String {
    failure_of(byte_level_entries(), key, value)
}

fn failure_of(mut entries: Entries, key: &str, value: Option<Value>) -> String {
    let key = format!("tokenizer.ggml.{key}");
    match value {
        Some(value) => entries.insert(key, value),
        None => entries.remove(&key),
    };
    match load(&entries) {
        Err(EngineError::Model(reason)) => reason,
        Err(other) => panic!("not an error of the model: {other:?}"),
        Ok(_) => panic!("it loads"),
    }
}

#[test]
fn a_byte_level_vocabulary_merges_and_splits_as_its_file_says() {
    let tokenizer = byte_level(&[]);
    let encode = |text| tokenizer.encode(text, false, false).unwrap();
    assert_eq!(encode("ab ab 12\n"), ids(&["ab", "Ġab", "Ġ", "1", "2", "Ċ"]));
    assert_eq!(encode("é"), ids(&["Ã", "©"]));
    assert_eq!(encode(""), [] as [u32; 0]);
    assert_eq!(tokenizer.vocabulary(), samples::byte_level_tokens().len());
}

#[test]
fn special_tokens_are_recognised_only_when_asked_for_and_user_tokens_always() {
    let tokenizer = byte_level(&[]);
    let encode = |text, special| tokenizer.encode(text, special, false).unwrap();
    assert_eq!(encode("<s>ab</s>", true), ids(&["<s>", "ab", "</s>"]));
    assert_eq!(encode("<s>", false), ids(&["<", "s", ">"]));
    assert_eq!(encode("a<tool>b", false), ids(&["a", "<tool>", "b"]));
}

#[test]
fn begin_and_end_tokens_are_added_as_the_file_says() {
    let (yes, no) = (Value::Bool(true), Value::Bool(false));
    let encode = |bos: &Value, eos: &Value, special| {
        let tokenizer = byte_level(&[
            ("tokenizer.ggml.add_bos_token", bos.clone()),
            ("tokenizer.ggml.add_eos_token", eos.clone()),
        ]);
        tokenizer.encode("a", true, special).unwrap()
    };
    assert_eq!(encode(&no, &no, true), ids(&["a"]));
    assert_eq!(encode(&yes, &no, true), ids(&["<s>", "a"]));
    assert_eq!(encode(&yes, &yes, true), ids(&["<s>", "a", "</s>"]));
    assert_eq!(encode(&yes, &yes, false), ids(&["a"]));
    // llama-bpe adds a begin token where the file does not say
    let llama = byte_level(&[("tokenizer.ggml.pre", Value::String("llama-bpe".into()))]);
    assert_eq!(llama.encode("a", true, true).unwrap(), ids(&["<s>", "a"]));
}

#[test]
fn tokens_with_known_names_end_a_generation_and_are_control_tokens() {
    let mut tokens = samples::byte_level_tokens();
    let first = tokens.len() as u32;
    tokens.extend(["<|im_end|>", "<|eot_id|>", "<|fim_prefix|>"].map(String::from));
    let tokenizer = byte_level(&[
        ("tokenizer.ggml.tokens", texts(tokens.iter().map(String::as_str))),
        ("tokenizer.ggml.token_type", integers(tokens.iter().map(|_| 1))),
        ("tokenizer.ggml.eot_token_id", Value::U32(7)),
    ]);
    assert_eq!(tokenizer.end_ids(), [1, 7, first, first + 1]);
    assert_eq!(tokenizer.encode("<|fim_prefix|>", true, false).unwrap(), [first + 2]);
    assert_eq!(tokenizer.piece(first), b"");
}

#[test]
fn text_comes_out_of_normal_and_user_tokens_only() {
    let tokenizer = byte_level(&[]);
    assert_eq!(tokenizer.decode(&ids(&["<s>", "Ġab", "<tool>", "Ã", "©", "</s>"])), " ab<tool>é");
    assert_eq!(tokenizer.decode(&ids(&["a", "Ã", "b"])), "a\u{fffd}b");
    assert_eq!(tokenizer.decode(&[u32::MAX]), "");
    assert_eq!((tokenizer.bos(), tokenizer.bos_text()), (Some(0), Some("<s>")));
    assert_eq!(tokenizer.eos_text(), Some("</s>"));
}

#[test]
fn lines_become_the_tokens_that_sentencepiece_itself_makes() {
    let trained = Trained::read();
    let tokenizer = load(&trained.entries()).unwrap();
    for (line, expected) in &trained.lines {
        assert_eq!(&tokenizer.encode(line, false, false).unwrap(), expected, "{line:?}");
        // the space that was put before the text comes back with it
        assert_eq!(tokenizer.decode(expected), format!(" {line}"));
    }
    assert_eq!(tokenizer.encode("", true, true).unwrap(), [1]);
    assert_eq!(tokenizer.end_ids(), [2]);
}

#[test]
fn a_space_is_put_before_every_text_that_follows_a_special_token() {
    let trained = Trained::read();
    let mut entries = trained.entries();
    let decode = |entries: &Entries| {
        let tokenizer = load(entries).unwrap();
        let ids = tokenizer.encode("a<s>b", true, true).unwrap();
        let token = |id: &u32| trained.tokens[*id as usize].as_str();
        ids.iter().map(token).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(decode(&entries), "<s> ▁a <s> ▁b");
    entries.insert("tokenizer.ggml.add_space_prefix".into(), Value::Bool(false));
    entries.insert("tokenizer.ggml.add_bos_token".into(), Value::Bool(false));
    assert_eq!(decode(&entries), "a <s> b");
}

#[test]
fn the_special_tokens_of_phi_3_take_the_spaces_after_them() {
    let encode = |name: &str| {
        let tokenizer = byte_level(&[("general.name", Value::String(name.into()))]);
        tokenizer.encode("</s>\n a", true, false).unwrap()
    };
    assert_eq!(encode("Phi-3-mini"), ids(&["</s>", "a"]));
    assert_eq!(encode("SmolLM2"), ids(&["</s>", "Ċ", "Ġa"]));
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let text = |text: &str| Some(Value::String(text.into()));
    let kind = failure("model", text("t5"));
    assert!(kind.contains("sample.gguf: its tokenizer is of the kind \"t5\""), "{kind}");
    let pre = failure("pre", text("falcon"));
    assert!(pre.contains("by the rule \"falcon\", which is not known"), "{pre}");
    assert!(pre.contains("tokenizer.json"), "{pre}");
}

#[test]
fn missing_metadata_is_named() {
    for key in ["model", "pre", "tokens", "merges"] {
        let reason = failure(key, None);
        assert!(reason.contains(&format!("tokenizer.ggml.{key} is missing")), "{reason}");
    }
    let scores = failure_of(Trained::read().entries(), "scores", None);
    assert!(scores.contains("tokenizer.ggml.scores is missing"), "{scores}");
}

#[test]
fn metadata_of_another_type_is_named() {
    for key in ["model", "pre", "tokens", "merges", "token_type", "bos_token_id", "add_bos_token"] {
        let reason = failure(key, Some(Value::F32(1.0)));
        assert!(reason.contains(&format!("tokenizer.ggml.{key} is not")), "{key}: {reason}");
    }
    let mixed = failure("tokens", Some(Value::Array(vec![Value::Bool(true)])));
    assert!(mixed.contains("is not an array of strings"), "{mixed}");
    let scores = Value::Array(vec![Value::F32(f32::NAN); 620]);
    let scores = failure_of(Trained::read().entries(), "scores", Some(scores));
    assert!(scores.contains("is not an array of finite numbers"), "{scores}");
}

#[test]
fn lengths_that_disagree_are_refused() {
    let types = failure("token_type", Some(integers([1, 2])));
    assert!(types.contains("tokenizer.ggml.token_type has 2 entries for 263 tokens"), "{types}");
    let scores = Some(Value::Array(vec![Value::F32(0.0)]));
    let scores = failure_of(Trained::read().entries(), "scores", scores);
    assert!(scores.contains("tokenizer.ggml.scores has 1 entries for 620 tokens"), "{scores}");
    assert!(failure("tokens", Some(texts([]))).contains("has 0 tokens"));
}

#[test]
fn ids_beyond_the_vocabulary_are_refused() {
    for (value, shown) in [(Value::U32(263), "263"), (Value::I32(-1), "-1")] {
        let reason = failure("eos_token_id", Some(value));
        assert!(reason.contains(&format!("eos_token_id is {shown}, but")), "{reason}");
    }
    let huge = failure("bos_token_id", Some(Value::U64(u64::MAX)));
    assert!(huge.contains("bos_token_id is not an integer"), "{huge}");
}

#[test]
fn damaged_tokens_and_merges_are_refused() {
    let merges = |merge| failure("merges", Some(texts([merge])));
    assert!(merges("ab").contains("merge 0 is \"ab\", not two tokens"));
    assert!(merges("a ").contains("merge 0 is \"a \", not two tokens"));
    assert!(merges("").contains("merge 0 is \"\", not two tokens"));
    assert!(merges("a xyz").contains("merge 0 needs \"xyz\""));
    assert!(merges("b a").contains("merge 0 needs \"ba\""));
    let twice = failure("tokens", Some(texts(["a", "b", "a"])));
    assert!(twice.contains("tokens 0 and 2 of its vocabulary are both \"a\""), "{twice}");
}

#[test]
fn a_begin_token_that_is_to_be_added_must_be_known() {
    let mut entries = byte_level_entries();
    entries.insert("tokenizer.ggml.add_bos_token".into(), Value::Bool(true));
    let reason = failure_of(entries, "bos_token_id", None);
    assert!(reason.contains("bos_token_id is missing, but the token is to be added"), "{reason}");
}

#[test]
fn without_any_tokenizer_the_error_says_what_to_put_where() {
    let error = Tokenizer::load(&samples::gguf_source(), None).unwrap_err();
    assert!(error.to_string().contains("no tokenizer.json beside the model"), "{error}");
}

/// A folder with a safetensors model's files.
struct Folder {
    folder: tempfile::TempDir,
    source: ModelSource,
}

/// A byte-level tokenizer.json over the tokens of the sample.
fn tokenizer_json() -> serde_json::Value {
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        samples::byte_level_tokens().into_iter().zip(0..).map(|(t, id)| (t, json!(id))).collect();
    let added = |id: u32, content: &str, special: bool| {
        json!({ "id": id, "content": content, "special": special, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false })
    };
    json!({
        "version": "1.0",
        "truncation": { "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0 },
        "added_tokens": [added(0, "<s>", true), added(1, "</s>", true), added(3, "<tool>", false)],
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Digits", "individual_digits": true },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        ] },
        "post_processor": { "type": "TemplateProcessing",
            "single": [{ "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
            "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 0 } }],
            "special_tokens": { "<s>": { "id": "<s>", "ids": [0], "tokens": ["<s>"] } } },
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "vocab": vocabulary, "merges": ["a b", "Ġ a", "Ġ ab"] },
    })
}

impl Folder {
    fn new(tokenizer: &serde_json::Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, value: &serde_json::Value| {
            let path = folder.path().join(name);
            fs::write(&path, value.to_string()).unwrap();
            path
        };
        let config = write("config.json", &json!({ "eos_token_id": [1, 7] }));
        let source = ModelSource {
            name: "sample".into(),
            weights: Weights::Safetensors { config, shards: Vec::new() },
            tokenizer: Some(write("tokenizer.json", tokenizer)),
            tokenizer_config: Some(write(
                "tokenizer_config.json",
                &json!({ "bos_token": { "content": "<s>" }, "eos_token": "</s>" }),
            )),
            chat_template: None,
            generation_config: Some(write("generation_config.json", &json!({ "eos_token_id": 5 }))),
            sha256: None,
        };
        Self { folder, source }
    }

    fn load(&self) -> Result<Tokenizer, EngineError> {
        Tokenizer::load(&self.source, None)
    }

    fn write(&self, name: &str, value: &serde_json::Value) {
        fs::write(self.folder.path().join(name), value.to_string()).unwrap();
    }
}

fn json_failure(tokenizer: &serde_json::Value) -> String {
    let error = Folder::new(tokenizer).load().unwrap_err();
    assert!(matches!(error, EngineError::Model(_)), "{error:?}");
    error.to_string()
}

#[test]
fn a_tokenizer_json_gives_the_same_tokens_as_the_same_vocabulary_in_gguf() {
    let folder = Folder::new(&tokenizer_json());
    let (json, gguf) = (folder.load().unwrap(), byte_level(&[]));
    for text in ["ab ab 12\n é", "<s>a<tool></s>", "  \t\u{0}😀 don't", ""] {
        for special in [false, true] {
            // the truncation to 2 tokens that the file asks for is not applied
            let ours = json.encode(text, special, false).unwrap();
            assert_eq!(ours, gguf.encode(text, special, false).unwrap(), "{text:?}");
            assert_eq!(json.decode(&ours), gguf.decode(&ours));
        }
    }
    assert_eq!(json.vocabulary(), gguf.vocabulary());
}

#[test]
fn special_tokens_come_from_the_files_beside_a_tokenizer_json() {
    let folder = Folder::new(&tokenizer_json());
    let tokenizer = folder.load().unwrap();
    assert_eq!(tokenizer.end_ids(), [1, 5, 7]);
    assert_eq!((tokenizer.bos(), tokenizer.eos_text()), (Some(0), Some("</s>")));
    // the post-processor of the file adds <s>, unless tokenizer_config.json says otherwise
    assert_eq!(tokenizer.encode("a", true, true).unwrap(), ids(&["<s>", "a"]));
    folder.write("tokenizer_config.json", &json!({ "bos_token": "<s>", "add_bos_token": false }));
    assert_eq!(folder.load().unwrap().encode("a", true, true).unwrap(), ids(&["a"]));
    folder.write("tokenizer_config.json", &json!({ "bos_token": null, "add_bos_token": true }));
    let error = folder.load().unwrap_err().to_string();
    assert!(error.contains("wants a bos token to be added, but none is named"), "{error}");
    folder.write("tokenizer_config.json", &json!({ "bos_token": "<bos>" }));
    let error = folder.load().unwrap_err().to_string();
    assert!(error.contains("no token \"<bos>\""), "{error}");
}

#[test]
fn a_damaged_tokenizer_json_is_an_error() {
    let changed = |pointer: &str, value: serde_json::Value| {
        let mut tokenizer = tokenizer_json();
        *tokenizer.pointer_mut(pointer).unwrap() = value;
        json_failure(&tokenizer)
    };
    let far = "x".repeat(400);
    assert!(changed("/model/merges", json!([["ab", "ab"]])).contains("merge 0 joins"));
    assert!(changed("/model/merges", json!([[far, "ab"]])).contains("merge 0 joins"));
    assert!(changed("/model/merges", json!(["ab"])).contains("not two tokens"));
    assert!(changed("/model/vocab/ab", json!(-1)).contains("not a tokenizer"));
    assert!(changed("/model/vocab", json!({})).contains("merge 0 joins"));
    assert!(changed("/model", json!({ "type": "Spell" })).contains("not a tokenizer"));
    assert!(changed("/model/vocab/ab", json!(u32::MAX)).contains("vocabulary of 4294967296"));
    assert!(changed("/decoder", json!(null)).contains("no decoder"));
    let ctc =
        json!({ "type": "CTC", "pad_token": "", "word_delimiter_token": "", "cleanup": false });
    assert!(changed("/decoder", ctc).contains("of its decoder is not known"));
    let replace = json!({ "type": "Replace", "pattern": { "String": "_" }, "content": " " });
    assert!(changed("/decoder", replace).contains("of its decoder is not known"));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let mut folder = Folder::new(&tokenizer_json());
    folder.source.tokenizer = Some(folder.folder.path().join("absent.json"));
    let error = folder.load().unwrap_err().to_string();
    assert!(error.contains("absent.json: it cannot be read"), "{error}");
    folder.write("tokenizer.json", &json!("text"));
    folder.source.tokenizer = Some(folder.folder.path().join("tokenizer.json"));
    assert!(
        folder.load().unwrap_err().to_string().contains("tokenizer.json: it is not a tokenizer")
    );
}

#[test]
fn a_tokenizer_json_of_another_model_beside_a_gguf_file_is_refused() {
    let folder = Folder::new(&tokenizer_json());
    let mut source = samples::gguf_source();
    source.tokenizer = folder.source.tokenizer.clone();
    let mut entries = byte_level_entries();
    let tokenizer = Tokenizer::load(&source, Some(&entries)).unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.end_ids()), (Some(0), &[1][..]));
    entries.insert("tokenizer.ggml.tokens".into(), texts(["a", "b"]));
    let error = Tokenizer::load(&source, Some(&entries)).unwrap_err().to_string();
    assert!(error.contains("it has 2 tokens, but"), "{error}");
}

#[test]
fn known_names_end_a_generation_where_no_file_names_an_end() {
    let folder = Folder::new(&tokenizer_json());
    for file in ["config.json", "generation_config.json", "tokenizer_config.json"] {
        folder.write(file, &json!({}));
    }
    assert_eq!(folder.load().unwrap().end_ids(), [id("</s>")]);
}

#[test]
fn a_sentencepiece_tokenizer_json_keeps_the_space_before_a_word() {
    let mut tokenizer = tokenizer_json();
    let tokens = ["<s>", "</s>", "<tool>", "▁", "a", "▁a", "<0xC3>", "<0xA9>"];
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        tokens.into_iter().zip(0..).map(|(token, id)| (token.to_owned(), json!(id))).collect();
    tokenizer["model"] =
        json!({ "type": "BPE", "byte_fallback": true, "vocab": vocabulary, "merges": ["▁ a"] });
    tokenizer["added_tokens"][2]["id"] = json!(2);
    tokenizer["pre_tokenizer"] = json!(null);
    tokenizer["normalizer"] = json!({ "type": "Sequence", "normalizers": [
        { "type": "Prepend", "prepend": "▁" },
        { "type": "Replace", "pattern": { "String": " " }, "content": "▁" },
    ] });
    tokenizer["decoder"] = json!({ "type": "Sequence", "decoders": [
        { "type": "Replace", "pattern": { "String": "▁" }, "content": " " },
        { "type": "ByteFallback" },
        { "type": "Fuse" },
        { "type": "Strip", "content": " ", "start": 1, "stop": 0 },
    ] });
    let tokenizer = Folder::new(&tokenizer).load().unwrap();
    assert_eq!(tokenizer.encode("a aé", false, false).unwrap(), [5, 5, 6, 7]);
    // a generated token continues the prompt, so its space counts
    assert_eq!(tokenizer.decode(&[5, 6, 7, 4]), " aéa");
}

fn any_value() -> impl Strategy<Value = Option<Value>> {
    let text = proptest::sample::select(vec!["", "gpt2", "llama", "qwen2", "a b", "▁", "\u{0}"]);
    let text = text.prop_map(|text| Value::String(text.into()));
    let number = prop_oneof![
        any::<u32>().prop_map(Value::U32),
        (-3i32..300).prop_map(Value::I32),
        any::<f32>().prop_map(Value::F32),
        any::<bool>().prop_map(Value::Bool),
    ];
    let single = prop_oneof![text, number];
    let list = proptest::collection::vec(single.clone(), 0..4).prop_map(Value::Array);
    proptest::option::of(prop_oneof![single, list])
}

proptest! {
    #[test]
    fn damaged_metadata_never_panic(
        scored in any::<bool>(),
        changes in proptest::collection::vec((0usize..12, any_value()), 1..4),
        text in "\\PC{0,12}",
    ) {
        let keys = [
            "model", "pre", "tokens", "token_type", "scores", "merges", "bos_token_id",
            "eos_token_id", "eot_token_id", "unknown_token_id", "add_bos_token", "add_space_prefix",
        ];
        let mut entries = if scored { Trained::read().entries() } else { byte_level_entries() };
        for (key, value) in changes {
            let key = format!("tokenizer.ggml.{}", keys[key]);
            match value {
                Some(value) => entries.insert(key, value),
                None => entries.remove(&key),
            };
        }
        if let Ok(tokenizer) = load(&entries) {
            let ids = tokenizer.encode(&text, true, true).unwrap();
            let _ = tokenizer.decode(&ids);
        }
    }
}
