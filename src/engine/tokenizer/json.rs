//! A tokenizer out of tokenizer.json, with what the files beside it say of special tokens.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::metadata::Metadata;
use super::pieces::{Pieces, Spelling};
use super::special::{SpecialToken, SpecialTokens, ends_generation};
use super::{MOST_TOKENS, Tokenizer, Words, both_vocabularies};
use crate::engine::{EngineError, ModelSource, Weights};

/// The largest tokenizer.json that is read; the largest published ones have 35 MB.
const MOST_TOKENIZER_BYTES: u64 = 256 << 20;
/// The largest configuration file that is read; the largest published ones have 1.2 MB.
const MOST_CONFIG_BYTES: u64 = 16 << 20;

/// The tokenizer in the file at `path`.
pub(super) fn load(
    path: &Path,
    source: &ModelSource,
    metadata: Option<Metadata<'_>>,
) -> Result<Tokenizer, EngineError> {
    let damaged = |what: String| EngineError::Model(format!("{}: {what}", path.display()));
    let bytes = read(path, MOST_TOKENIZER_BYTES)?;
    check_merges(&bytes).map_err(damaged)?;
    let mut library = tokenizers::Tokenizer::from_bytes(&bytes)
        .map_err(|error| damaged(format!("it is not a tokenizer: {error}")))?;
    library.with_padding(None);
    library
        .with_truncation(None)
        .map_err(|error| damaged(format!("its truncation cannot be switched off: {error}")))?;
    let pieces = pieces(&library).map_err(damaged)?;
    if let Some(metadata) = metadata {
        check_same_model(path, pieces.len(), &metadata)?;
    }
    let special = special(path, source, metadata, &library)?;
    let (added, added_plain) = both_vocabularies(library.get_added_vocabulary());
    let words = Words::Library(Box::new(library));
    Ok(Tokenizer { words, added, added_plain, pieces, special })
}

/// Reads a JSON file of limited size.
///
/// # Errors
/// It cannot be read, is too large, or is not what it should be.
pub(in crate::engine) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, EngineError> {
    let bytes = read(path, MOST_CONFIG_BYTES)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| EngineError::Model(format!("{}: {error}", path.display())))
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, EngineError> {
    let failed =
        |error| EngineError::Model(format!("{}: it cannot be read: {error}", path.display()));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    let length = file.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    if length as u64 > most {
        return Err(EngineError::Model(format!(
            "{}: it is larger than {} MiB, which no known model needs",
            path.display(),
            most >> 20
        )));
    }
    Ok(bytes)
}

/// A tokenizer.json may lie beside a GGUF file of another model.
fn check_same_model(
    path: &Path,
    tokens: usize,
    metadata: &Metadata<'_>,
) -> Result<(), EngineError> {
    match metadata.texts("tokenizer.ggml.tokens")? {
        Some(model) if model.len() < tokens => Err(metadata.damaged(format!(
            "it has {} tokens, but {} beside it has {tokens} and must be of another model",
            model.len(),
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// The bytes of every token, by the way the file's decoder puts text together.
fn pieces(library: &tokenizers::Tokenizer) -> Result<Pieces, String> {
    let spelling = spelling(library)?;
    let vocabulary = library.get_vocab(true);
    let most = vocabulary.values().copied().max().map_or(0, |id| id as usize + 1);
    if most == 0 || most > MOST_TOKENS {
        return Err(format!(
            "its highest token id makes a vocabulary of {most}; from 1 to {MOST_TOKENS} can be used"
        ));
    }
    let mut tokens = vec![""; most];
    for (token, id) in &vocabulary {
        tokens[*id as usize] = token;
    }
    let added = library.get_added_tokens_decoder();
    let mut pieces = Pieces::default();
    for (token, id) in tokens.into_iter().zip(0u32..) {
        match added.get(&id) {
            Some(added) if added.special => pieces.push(&[]),
            Some(added) => pieces.push(added.content.as_bytes()),
            None => pieces.push(&spelling.bytes(token)),
        }
    }
    Ok(pieces)
}

/// How the tokens are written, by the steps of the decoder.
fn spelling(library: &tokenizers::Tokenizer) -> Result<Spelling, String> {
    let decoder = serde_json::to_value(library.get_decoder())
        .map_err(|error| format!("its decoder: {error}"))?;
    let steps = match decoder.get("decoders").and_then(Value::as_array) {
        Some(steps) => steps.iter().collect(),
        None if decoder.is_null() => Vec::new(),
        None => vec![&decoder],
    };
    let is = |step: &Value, name: &str| step.get("type").and_then(Value::as_str) == Some(name);
    if steps.iter().any(|step| is(step, "ByteLevel")) {
        return Ok(Spelling::ByteLevel);
    }
    let known = |step: &Value| match step.get("type").and_then(Value::as_str) {
        Some("Replace") => step["pattern"]["String"] == "▁" && step["content"] == " ",
        Some("Metaspace") => step["replacement"] == "▁",
        Some("ByteFallback" | "Fuse" | "Strip") => true,
        _ => false,
    };
    match steps.iter().find(|step| !known(step)) {
        None if steps.is_empty() => {
            Err("it has no decoder, so its tokens cannot be made into text".into())
        }
        None => Ok(Spelling::SentencePiece),
        Some(step) => Err(format!("the step {step} of its decoder is not known")),
    }
}

/// What the files beside a tokenizer.json say.
struct Settings {
    /// tokenizer_config.json.
    tokenizer: Value,
    /// generation_config.json.
    generation: Value,
    /// config.json.
    model: Value,
}

impl Settings {
    fn read(source: &ModelSource) -> Result<Self, EngineError> {
        let read = |path: Option<&Path>| path.map_or(Ok(Value::Null), read_json);
        let config = match &source.weights {
            Weights::Gguf(_) => None,
            Weights::Safetensors { config, .. } => Some(config.as_path()),
        };
        Ok(Self {
            tokenizer: read(source.tokenizer_config.as_deref())?,
            generation: read(source.generation_config.as_deref())?,
            model: read(config)?,
        })
    }

    /// Ids under `key`, a number or a list of numbers, wherever it is said.
    fn ids(&self, key: &str) -> Vec<u32> {
        let said = [&self.generation, &self.model].into_iter().filter_map(|file| file.get(key));
        let numbers = said.flat_map(|value| match value {
            Value::Array(values) => values.iter().collect(),
            value => vec![value],
        });
        numbers.filter_map(|number| u32::try_from(number.as_u64()?).ok()).collect()
    }

    /// The text of a special token, which is written as a string or as an object.
    fn token(&self, key: &str) -> Option<&str> {
        let value = self.tokenizer.get(key)?;
        value.as_str().or_else(|| value.get("content")?.as_str())
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.tokenizer.get(key)?.as_bool()
    }
}

/// The tokens with a role, by the files beside the tokenizer and the metadata of a GGUF file.
fn special(
    path: &Path,
    source: &ModelSource,
    metadata: Option<Metadata<'_>>,
    library: &tokenizers::Tokenizer,
) -> Result<SpecialTokens, EngineError> {
    let roles = Roles { path, settings: Settings::read(source)?, metadata, library };
    let (bos, eos) = (roles.token("bos")?, roles.token("eos")?);
    let around = library.encode("", true).map(|ids| ids.get_ids().to_vec()).unwrap_or_default();
    let begins = bos.is_some() && around.first().copied() == bos;
    let ends = eos.is_some() && around.len() > usize::from(begins) && around.last().copied() == eos;
    let text = |id: u32| library.id_to_token(id).map(|text| SpecialToken { id, text });
    Ok(SpecialTokens {
        add_bos: roles.is_added("bos", bos)?.unwrap_or(begins),
        add_eos: roles.is_added("eos", eos)?.unwrap_or(ends),
        end: roles.end(eos)?,
        bos: bos.and_then(text),
        eos: eos.and_then(text),
    })
}

/// Where roles of tokens are looked up.
struct Roles<'a> {
    path: &'a Path,
    settings: Settings,
    metadata: Option<Metadata<'a>>,
    library: &'a tokenizers::Tokenizer,
}

impl Roles<'_> {
    fn damaged(&self, what: impl std::fmt::Display) -> EngineError {
        EngineError::Model(format!("{}: {what}", self.path.display()))
    }

    /// The id that GGUF metadata give to a role.
    fn in_metadata(&self, role: &str) -> Result<Option<u32>, EngineError> {
        let key = format!("tokenizer.ggml.{role}_token_id");
        let tokens = self.library.get_vocab_size(true);
        self.metadata.map_or(Ok(None), |metadata| metadata.id(&key, tokens))
    }

    /// The token that begins or ends a text: what tokenizer_config.json says, even that there
    /// is none, else what the model says.
    fn token(&self, role: &str) -> Result<Option<u32>, EngineError> {
        let key = format!("{role}_token");
        if let Some(text) = self.settings.token(&key) {
            let id = self.library.token_to_id(text);
            return id.map(Some).ok_or_else(|| {
                self.damaged(format!(
                    "it has no token {text:?}, which tokenizer_config.json names as its {role} token"
                ))
            });
        }
        if self.settings.tokenizer.get(&key).is_some_and(Value::is_null) {
            return Ok(None);
        }
        let ids = self.settings.ids(&format!("{key}_id"));
        Ok(self.in_metadata(role)?.or(ids.first().copied()))
    }

    /// Whether tokenizer_config.json wants this token added to a text.
    fn is_added(&self, role: &str, token: Option<u32>) -> Result<Option<bool>, EngineError> {
        match self.settings.flag(&format!("add_{role}_token")) {
            Some(true) if token.is_none() => Err(self.damaged(format!(
                "tokenizer_config.json wants a {role} token to be added, but none is named"
            ))),
            flag => Ok(flag),
        }
    }

    /// Every token that ends a generation. GGUF metadata name only some of them, so the known
    /// names count too, as they do where nothing is said at all.
    fn end(&self, eos: Option<u32>) -> Result<Vec<u32>, EngineError> {
        let mut end = self.settings.ids("eos_token_id");
        end.extend(eos);
        for role in ["eos", "eot", "eom"] {
            end.extend(self.in_metadata(role)?);
        }
        if self.metadata.is_some() || end.is_empty() {
            let names = self.library.get_vocab(true);
            end.extend(names.iter().filter(|(name, _)| ends_generation(name)).map(|(_, id)| *id));
        }
        end.sort_unstable();
        end.dedup();
        Ok(end)
    }
}

/// The part of a tokenizer.json that the library trusts blindly: it panics on merges whose
/// result is longer than any token.
#[derive(Deserialize)]
struct Unchecked {
    model: UncheckedModel,
}

#[derive(Deserialize)]
struct UncheckedModel {
    #[serde(default)]
    vocab: Texts,
    #[serde(default)]
    merges: Vec<Merge>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
}

/// The texts of a vocabulary that is a map; other models have lists and no merges.
#[derive(Default)]
struct Texts(HashMap<String, IgnoredAny>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Line(String),
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Texts;
            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a vocabulary")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
                let mut texts = HashMap::new();
                while let Some((text, id)) = map.next_entry()? {
                    texts.insert(text, id);
                }
                Ok(Texts(texts))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Texts::default())
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

fn check_merges(bytes: &[u8]) -> Result<(), String> {
    let Unchecked { model } =
        serde_json::from_slice(bytes).map_err(|error| format!("it is not a tokenizer: {error}"))?;
    let prefix = model.continuing_subword_prefix.unwrap_or_default();
    for (index, merge) in model.merges.iter().enumerate() {
        let (left, right) = match merge {
            Merge::Pair(left, right) => (left.as_str(), right.as_str()),
            Merge::Line(line) if line.starts_with("#version") => continue,
            Merge::Line(line) => line
                .split_once(' ')
                .ok_or_else(|| format!("merge {index} is {line:?}, not two tokens"))?,
        };
        let rest = right.strip_prefix(prefix.as_str());
        let joined = rest.map(|rest| [left, rest].concat());
        if joined.is_none_or(|joined| !model.vocab.0.contains_key(&joined)) {
            return Err(format!(
                "merge {index} joins {left:?} and {right:?} to a token that it does not have"
            ));
        }
    }
    Ok(())
}
