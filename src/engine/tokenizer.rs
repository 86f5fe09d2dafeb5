//! Text to token ids and back, for one model.
//!
//! The vocabulary comes from a tokenizer.json beside the weights, else from the metadata of a
//! GGUF file. Streaming text out of tokens is [`super::detokenizer`]'s, conversations are
//! [`super::chat_template`]'s.

mod byte_alphabet;
mod gguf;
mod json;
mod metadata;
mod pieces;
mod pre_tokenizer;
mod sentencepiece;
mod special;

use std::collections::HashMap;

use candle_core::quantized::gguf_file::Value;
use tokenizers::{
    AddedVocabulary, Model as _, NormalizerWrapper, OffsetType, PreTokenizedString,
    PreTokenizer as _,
};

use super::{EngineError, ModelSource};
use pieces::Pieces;
use sentencepiece::SentencePiece;
use special::SpecialTokens;

pub(super) use json::read_json;
pub(super) use metadata::Metadata;

/// The most entries a vocabulary may have; the largest published ones have 262,144.
const MOST_TOKENS: usize = 1 << 22;

/// The tokenizer of a model.
///
/// It recognises the same tokens whether it was read from tokenizer.json or from GGUF
/// metadata. Truncation and padding that a tokenizer.json may ask for are not applied.
pub struct Tokenizer {
    words: Words,
    /// Every added token.
    added: AddedVocabulary,
    /// The same with the special ones switched off, so that their text is plain text.
    added_plain: AddedVocabulary,
    pieces: Pieces,
    special: SpecialTokens,
}

/// What splits plain text into tokens.
enum Words {
    /// The pipeline of the `tokenizers` library.
    Library(Box<tokenizers::Tokenizer>),
    /// Score-driven merging, which the library has no exact equivalent of.
    SentencePiece(SentencePiece),
}

impl Tokenizer {
    /// The tokenizer of `source`; `gguf` is the metadata of its GGUF file, if it is one.
    ///
    /// # Errors
    /// There is no tokenizer, it is damaged, or it is of a kind that is not known.
    pub fn load(
        source: &ModelSource,
        gguf: Option<&HashMap<String, Value>>,
    ) -> Result<Self, EngineError> {
        let path = source.weights.path();
        let metadata = gguf.map(|entries| Metadata::new(path, entries));
        match (&source.tokenizer, metadata) {
            (Some(tokenizer), metadata) => json::load(tokenizer, source, metadata),
            (None, Some(metadata)) => gguf::load(&metadata),
            (None, None) => Err(EngineError::Model(format!(
                "{}: there is no tokenizer.json beside the model; put the model's own one there",
                path.display()
            ))),
        }
    }

    /// The token ids of `text`, without any chat template.
    ///
    /// `parse_special` takes the text of special tokens for those tokens; without it they are
    /// plain text. `add_special` adds the begin and end tokens that this model's tokenizer
    /// adds to a text by itself.
    ///
    /// # Errors
    /// The tokenizer's own pattern fails on this text.
    pub fn encode(
        &self,
        text: &str,
        parse_special: bool,
        add_special: bool,
    ) -> Result<Vec<u32>, EngineError> {
        let mut ids = self.encode_words(text, parse_special).map_err(|error| {
            EngineError::InvalidRequest(format!("the text cannot be tokenised: {error}"))
        })?;
        if add_special {
            self.special.surround(&mut ids);
        }
        Ok(ids)
    }

    /// Puts the model's begin token before `ids` where its tokenizer does so by itself and
    /// they do not begin with it already.
    pub(super) fn begin(&self, ids: &mut Vec<u32>) {
        self.special.begin(ids);
    }

    fn encode_words(&self, text: &str, parse_special: bool) -> tokenizers::Result<Vec<u32>> {
        let added = if parse_special { &self.added } else { &self.added_plain };
        let split = match &self.words {
            Words::Library(library) => {
                let mut split = added.extract_and_normalize(library.get_normalizer(), text);
                if let Some(pre_tokenizer) = library.get_pre_tokenizer() {
                    pre_tokenizer.pre_tokenize(&mut split)?;
                }
                library.get_model().tokenize_in_pretokenized(&mut split, None)?;
                split
            }
            Words::SentencePiece(model) => {
                let mut split: PreTokenizedString =
                    added.extract_and_normalize(None::<&NormalizerWrapper>, text);
                split.tokenize(|part| Ok(model.tokenize(part.get())))?;
                split
            }
        };
        Ok(split.into_encoding(None, 0, OffsetType::None)?.get_ids().to_vec())
    }

    /// The text of `ids` as the continuation of whatever came before them: a leading space is
    /// kept, special tokens have no text, and invalid UTF-8 becomes U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| self.piece(*id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The bytes that a token adds to a text; none for special tokens and for ids beyond the
    /// vocabulary (models pad theirs).
    pub fn piece(&self, id: u32) -> &[u8] {
        self.pieces.get(id)
    }

    /// The number of token ids: the highest one plus 1.
    pub fn vocabulary(&self) -> usize {
        self.pieces.len()
    }

    /// The tokens that end a generation, in ascending order.
    pub fn end_ids(&self) -> &[u32] {
        &self.special.end
    }

    /// The token that begins a text, if the model has one.
    pub fn bos(&self) -> Option<u32> {
        self.special.bos.as_ref().map(|token| token.id)
    }

    /// The text of the token that begins a text, for templates.
    pub fn bos_text(&self) -> Option<&str> {
        self.special.bos.as_ref().map(|token| token.text.as_str())
    }

    /// The text of the token that ends a text, for templates.
    pub fn eos_text(&self) -> Option<&str> {
        self.special.eos.as_ref().map(|token| token.text.as_str())
    }
}

/// Two views of the added tokens: all of them, and without the special ones.
fn both_vocabularies(all: &AddedVocabulary) -> (AddedVocabulary, AddedVocabulary) {
    let mut plain = all.clone();
    plain.set_encode_special_tokens(true);
    (all.clone(), plain)
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let vocabulary = self.vocabulary();
        formatter.debug_struct("Tokenizer").field("vocabulary", &vocabulary).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod samples;

#[cfg(test)]
mod tests;
