//! A tokenizer out of GGUF metadata.
//!
//! The keys are those of the GGUF specification (`tokenizer.ggml.*`), their meaning is what
//! llama.cpp's `llama-vocab.cpp` makes of them.

use std::collections::HashMap;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::{AddedToken, AddedVocabulary, NormalizerWrapper};

use super::metadata::Metadata;
use super::pieces::{Pieces, Spelling, byte_token};
use super::pre_tokenizer::PreTokenizer;
use super::sentencepiece::SentencePiece;
use super::special::{self, SpecialToken, SpecialTokens};
use super::{MOST_TOKENS, Tokenizer, Words, both_vocabularies};
use crate::engine::EngineError;

const CONVERSION_HINT: &str =
    "put the model's own tokenizer.json beside the file, or use a newer conversion of the model";

/// What a token is, by `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

/// The tokens of a file.
struct Vocabulary {
    tokens: Vec<String>,
    kinds: Vec<Kind>,
    ids: HashMap<String, u32>,
}

/// The tokenizer that the metadata describe.
pub(super) fn load(metadata: &Metadata<'_>) -> Result<Tokenizer, EngineError> {
    let vocabulary = Vocabulary::read(metadata)?;
    let model = required(metadata.text("tokenizer.ggml.model")?, metadata, "tokenizer.ggml.model")?;
    match model {
        "gpt2" => byte_level(metadata, &vocabulary),
        "llama" => sentencepiece(metadata, vocabulary),
        other => Err(metadata.damaged(format!(
            "its tokenizer is of the kind \"{other}\", which is not known (known: gpt2, llama); \
             put the model's own tokenizer.json beside the file"
        ))),
    }
}

fn required<T>(value: Option<T>, metadata: &Metadata<'_>, key: &str) -> Result<T, EngineError> {
    value.ok_or_else(|| metadata.damaged(format!("metadata {key} is missing; {CONVERSION_HINT}")))
}

fn byte_level(metadata: &Metadata<'_>, vocabulary: &Vocabulary) -> Result<Tokenizer, EngineError> {
    let name = required(metadata.text("tokenizer.ggml.pre")?, metadata, "tokenizer.ggml.pre")?;
    let pre_tokenizer = PreTokenizer::named(name).ok_or_else(|| {
        metadata.damaged(format!(
            "its vocabulary splits text by the rule \"{name}\", which is not known; \
             put the model's own tokenizer.json beside the file"
        ))
    })?;
    let special = vocabulary.special(metadata, (None, None), pre_tokenizer.add_bos)?;
    let library = library(metadata, vocabulary, pre_tokenizer)?;
    vocabulary.tokenizer(metadata, Words::Library(Box::new(library)), Spelling::ByteLevel, special)
}

/// The pipeline of the library for a byte-level vocabulary, without added tokens.
fn library(
    metadata: &Metadata<'_>,
    vocabulary: &Vocabulary,
    pre_tokenizer: PreTokenizer,
) -> Result<tokenizers::Tokenizer, EngineError> {
    let merges = vocabulary.merges(metadata)?;
    let ids: Vocab = vocabulary.ids.iter().map(|(token, id)| (token.clone(), *id)).collect();
    let model = BPE::builder()
        .vocab_and_merges(ids, merges)
        .ignore_merges(pre_tokenizer.ignore_merges)
        .build()
        .map_err(|error| metadata.damaged(format!("its merges are damaged: {error}")))?;
    let mut library = tokenizers::Tokenizer::new(model);
    let pre_tokenizer = pre_tokenizer
        .build()
        .map_err(|error| EngineError::Internal(format!("a splitting pattern: {error}")))?;
    library.with_pre_tokenizer(Some(pre_tokenizer));
    Ok(library)
}

fn sentencepiece(
    metadata: &Metadata<'_>,
    vocabulary: Vocabulary,
) -> Result<Tokenizer, EngineError> {
    let tokens = vocabulary.tokens.len();
    let scores = metadata.numbers("tokenizer.ggml.scores", tokens)?;
    let default = |id: u32| Some(id).filter(|id| (*id as usize) < tokens);
    let special = vocabulary.special(metadata, (default(1), default(2)), true)?;
    let model = SentencePiece {
        scores: required(scores, metadata, "tokenizer.ggml.scores")?,
        bytes: vocabulary.bytes(metadata)?,
        ids: vocabulary.ids.clone(),
        space_prefix: metadata.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true),
    };
    vocabulary.tokenizer(metadata, Words::SentencePiece(model), Spelling::SentencePiece, special)
}

impl Vocabulary {
    fn read(metadata: &Metadata<'_>) -> Result<Self, EngineError> {
        let texts = metadata.texts("tokenizer.ggml.tokens")?;
        let texts = required(texts, metadata, "tokenizer.ggml.tokens")?;
        if texts.is_empty() || texts.len() > MOST_TOKENS {
            return Err(metadata.damaged(format!(
                "its vocabulary has {} tokens; from 1 to {MOST_TOKENS} can be used",
                texts.len()
            )));
        }
        let mut ids = HashMap::with_capacity(texts.len());
        let mut tokens = Vec::with_capacity(texts.len());
        for (text, id) in texts.iter().zip(0u32..) {
            let token = if text.is_empty() { format!("[EMPTY_{id}]") } else { (*text).to_owned() };
            if let Some(other) = ids.insert(token.clone(), id) {
                return Err(metadata.damaged(format!(
                    "tokens {other} and {id} of its vocabulary are both {token:?}"
                )));
            }
            tokens.push(token);
        }
        let types = metadata.integers("tokenizer.ggml.token_type", tokens.len())?;
        let kinds = tokens.iter().enumerate().map(|(id, token)| {
            let code = types.as_ref().map_or(1, |types| types[id]);
            Kind::of(token, code)
        });
        Ok(Self { kinds: kinds.collect(), tokens, ids })
    }

    /// The merges of a byte-level vocabulary, best first; of equal ones the first counts.
    fn merges(&self, metadata: &Metadata<'_>) -> Result<Vec<(String, String)>, EngineError> {
        let key = "tokenizer.ggml.merges";
        let lines = required(metadata.texts(key)?, metadata, key)?;
        let mut seen = std::collections::HashSet::with_capacity(lines.len());
        let mut merges = Vec::with_capacity(lines.len());
        for (index, line) in lines.iter().enumerate() {
            let Some((left, right)) = split_merge(line) else {
                return Err(metadata.damaged(format!(
                    "merge {index} is {line:?}, not two tokens with a space between"
                )));
            };
            let joined = [left, right].concat();
            if let Some(absent) =
                [left, right, &joined].into_iter().find(|token| !self.ids.contains_key(*token))
            {
                return Err(metadata.damaged(format!(
                    "merge {index} needs {absent:?}, which its vocabulary does not have"
                )));
            }
            if seen.insert(*line) {
                merges.push((left.to_owned(), right.to_owned()));
            }
        }
        Ok(merges)
    }

    /// The token of every single byte.
    fn bytes(&self, metadata: &Metadata<'_>) -> Result<Vec<u32>, EngineError> {
        let unknown = metadata.id("tokenizer.ggml.unknown_token_id", self.tokens.len())?;
        let token = |byte: u8| {
            let hexadecimal = self.ids.get(&format!("<0x{byte:02X}>"));
            let plain = || self.ids.get(std::str::from_utf8(&[byte]).ok()?);
            hexadecimal.or_else(plain).copied().or(unknown)
        };
        let bytes: Option<Vec<u32>> = (0..=u8::MAX).map(token).collect();
        bytes.ok_or_else(|| {
            metadata.damaged("its vocabulary has neither a token for every byte nor an unknown one")
        })
    }

    /// The tokens with a role; `defaults` are the begin and end tokens where none is named.
    fn special(
        &self,
        metadata: &Metadata<'_>,
        defaults: (Option<u32>, Option<u32>),
        add_bos: bool,
    ) -> Result<SpecialTokens, EngineError> {
        let named =
            |name: &str| metadata.id(&format!("tokenizer.ggml.{name}_token_id"), self.tokens.len());
        let token = |id: u32| SpecialToken { id, text: self.tokens[id as usize].clone() };
        let bos = named("bos")?.or(defaults.0);
        let eos = named("eos")?.or(defaults.1);
        let mut end: Vec<u32> = eos.into_iter().collect();
        for role in ["eot", "eom", "fim_pad", "fim_rep", "fim_sep"] {
            end.extend(named(role)?);
        }
        let ending = |token: &&String| special::ends_generation(token);
        end.extend(self.tokens.iter().filter(ending).map(|token| self.ids[token]));
        end.sort_unstable();
        end.dedup();
        let add_bos = metadata.flag("tokenizer.ggml.add_bos_token")?.unwrap_or(add_bos);
        let add_eos = metadata.flag("tokenizer.ggml.add_eos_token")?.unwrap_or(false);
        for (name, wanted, known) in [("bos", add_bos, bos), ("eos", add_eos, eos)] {
            if wanted && known.is_none() {
                return Err(metadata.damaged(format!(
                    "metadata tokenizer.ggml.{name}_token_id is missing, but the token is to be added"
                )));
            }
        }
        Ok(SpecialTokens { bos: bos.map(token), eos: eos.map(token), add_bos, add_eos, end })
    }

    fn tokenizer(
        &self,
        metadata: &Metadata<'_>,
        words: Words,
        spelling: Spelling,
        special: SpecialTokens,
    ) -> Result<Tokenizer, EngineError> {
        let all = self
            .added(metadata)
            .map_err(|error| metadata.damaged(format!("its special tokens: {error}")))?;
        let (added, added_plain) = both_vocabularies(&all);
        Ok(Tokenizer { words, added, added_plain, pieces: self.pieces(spelling), special })
    }

    /// The tokens that are found in a text before it is split into words.
    fn added(&self, metadata: &Metadata<'_>) -> tokenizers::Result<AddedVocabulary> {
        let strips = strips_spaces_after_special(metadata)
            .map_err(|error| tokenizers::Error::from(error.to_string()))?;
        let added = |(token, kind): (&String, &Kind)| {
            let special = match kind {
                Kind::Control | Kind::Unknown => true,
                Kind::UserDefined => false,
                Kind::Normal | Kind::Unused | Kind::Byte => return None,
            };
            let rstrip = strips && !["<unk>", "<s>", "<|endoftext|>"].contains(&token.as_str());
            Some(AddedToken::from(token.clone(), special).normalized(false).rstrip(rstrip))
        };
        let tokens: Vec<AddedToken> =
            self.tokens.iter().zip(&self.kinds).filter_map(added).collect();
        // the ids are looked up in a model; one of these tokens alone is enough
        let ids = tokens.iter().map(|token| (token.content.clone(), self.ids[&token.content]));
        let model = WordLevel::builder().vocab(ids.collect()).build()?;
        let mut vocabulary = AddedVocabulary::new();
        vocabulary.add_tokens(tokens, &model, None::<&NormalizerWrapper>)?;
        Ok(vocabulary)
    }

    fn pieces(&self, spelling: Spelling) -> Pieces {
        let mut pieces = Pieces::default();
        for (token, kind) in self.tokens.iter().zip(&self.kinds) {
            match kind {
                Kind::Normal => pieces.push(&spelling.bytes(token)),
                Kind::Byte => pieces.push(byte_token(token).as_slice()),
                Kind::UserDefined => pieces.push(token.as_bytes()),
                Kind::Control | Kind::Unknown | Kind::Unused => pieces.push(&[]),
            }
        }
        pieces
    }
}

impl Kind {
    fn of(token: &str, code: i64) -> Self {
        if special::is_control(token) {
            return Kind::Control;
        }
        match code {
            1 => Kind::Normal,
            2 => Kind::Unknown,
            3 => Kind::Control,
            4 => Kind::UserDefined,
            6 => Kind::Byte,
            _ => Kind::Unused,
        }
    }
}

/// The two tokens of a merge; the first one is at least a character, which may be a space.
fn split_merge(line: &str) -> Option<(&str, &str)> {
    let first = line.chars().next()?.len_utf8();
    let at = first + line[first..].find(' ')?;
    Some((&line[..at], &line[at + 1..])).filter(|(_, right)| !right.is_empty())
}

/// Phi-3's special tokens take the spaces after them; its GGUF files do not say so, and
/// llama.cpp too knows it by the model's name.
fn strips_spaces_after_special(metadata: &Metadata<'_>) -> Result<bool, EngineError> {
    let name = metadata.text("general.name")?.unwrap_or_default().to_lowercase();
    Ok(name.contains("phi-3") || name.contains("phi3"))
}
