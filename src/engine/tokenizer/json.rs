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
use super::special::{SpecialToken, SpecialTokens};
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
        None => vec![&decoder],
    };
    let types: Vec<&str> = steps.iter().filter_map(|step| step.get("type")?.as_str()).collect();
    if types.contains(&"ByteLevel") {
        return Ok(Spelling::ByteLevel);
    }
    let known = ["Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"];
    match types.iter().find(|step| !known.contains(step)) {
        None if !types.is_empty() => Ok(Spelling::SentencePiece),
        None => Err("it has no decoder, so its tokens cannot be made into text".into()),
        Some(step) => Err(format!("its decoder \"{step}\" is not known")),
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
    fn ids(&self, key: &str) -> Vec<u64> {
        let said = [&self.generation, &self.model].into_iter().filter_map(|file| file.get(key));
        let numbers = said.flat_map(|value| match value {
            Value::Array(values) => values.iter().collect(),
            value => vec![value],
        });
        numbers.filter_map(Value::as_u64).collect()
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

fn special(
    path: &Path,
    source: &ModelSource,
    metadata: Option<Metadata<'_>>,
    library: &tokenizers::Tokenizer,
) -> Result<SpecialTokens, EngineError> {
    let settings = Settings::read(source)?;
    let tokens = library.get_vocab_size(true);
    let named = |key: &str| metadata.map_or(Ok(None), |metadata| metadata.id(key, tokens));
    let find = |name: &str| -> Result<Option<u32>, EngineError> {
        let text = settings.token(&format!("{name}_token"));
        if let Some(text) = text {
            return library.token_to_id(text).map(Some).ok_or_else(|| {
                EngineError::Model(format!(
                    "{}: it has no token {text:?}, which tokenizer_config.json names as its {name} token",
                    path.display()
                ))
            });
        }
        let first = settings.ids(&format!("{name}_token_id")).into_iter().next();
        let first = first.and_then(|id| u32::try_from(id).ok());
        Ok(named(&format!("tokenizer.ggml.{name}_token_id"))?.or(first))
    };
    let (bos, eos) = (find("bos")?, find("eos")?);
    let around = library.encode("", true).map(|ids| ids.get_ids().to_vec()).unwrap_or_default();
    let begins = bos.is_some() && around.first().copied() == bos;
    let ends = eos.is_some() && around.len() > usize::from(begins) && around.last().copied() == eos;
    let token = |id: u32| library.id_to_token(id).map(|text| SpecialToken { id, text });
    let ids = settings.ids("eos_token_id").into_iter().filter_map(|id| u32::try_from(id).ok());
    let mut end: Vec<u32> = ids.chain(eos).collect();
    end.extend(named("tokenizer.ggml.eos_token_id")?);
    end.extend(named("tokenizer.ggml.eot_token_id")?);
    end.sort_unstable();
    end.dedup();
    Ok(SpecialTokens {
        bos: bos.and_then(token),
        eos: eos.and_then(token),
        add_bos: settings.flag("add_bos_token").unwrap_or(begins),
        add_eos: settings.flag("add_eos_token").unwrap_or(ends),
        end,
    })
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
