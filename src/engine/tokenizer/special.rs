//! Tokens with a role: where a text begins, where it ends, where a generation ends.

/// A token with a role, and its text as templates see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SpecialToken {
    pub(super) id: u32,
    pub(super) text: String,
}

/// The tokens with a role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SpecialTokens {
    pub(super) bos: Option<SpecialToken>,
    pub(super) eos: Option<SpecialToken>,
    /// Whether the tokenizer puts `bos` before a text by itself.
    pub(super) add_bos: bool,
    /// Whether the tokenizer puts `eos` after a text by itself.
    pub(super) add_eos: bool,
    /// Every token that ends a generation, in ascending order.
    pub(super) end: Vec<u32>,
}

impl SpecialTokens {
    /// Puts the begin token before `ids`, where the tokenizer does so and it is not there.
    pub(super) fn begin(&self, ids: &mut Vec<u32>) {
        if let Some(bos) = self.bos.as_ref().filter(|_| self.add_bos)
            && ids.first() != Some(&bos.id)
        {
            ids.insert(0, bos.id);
        }
    }

    /// Adds what the tokenizer adds to a text by itself.
    pub(super) fn surround(&self, ids: &mut Vec<u32>) {
        if let Some(bos) = self.bos.as_ref().filter(|_| self.add_bos) {
            ids.insert(0, bos.id);
        }
        ids.extend(self.eos.as_ref().filter(|_| self.add_eos).map(|eos| eos.id));
    }
}

/// Names that end a generation wherever they are in a GGUF vocabulary.
///
/// GGUF metadata names one end token, two at most, and models use more; llama.cpp knows them
/// by their text (`llama-vocab.cpp`, `special_eog_ids`), and so do we.
const END_NAMES: [&str; 28] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<｜end▁of▁sentence｜>",
    // padding, repository and file marks of fill-in-the-middle models
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "[PAD]",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
];

/// Further names that are control tokens whatever a GGUF file says of their type.
const CONTROL_NAMES: [&str; 24] = [
    "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>",
    "<｜fim▁begin｜>",
    "<PRE>",
    "▁<PRE>",
    "<|code_prefix|>",
    "<|prefix|>",
    "<|fim_suffix|>",
    "<fim-suffix>",
    "<fim_suffix>",
    "<｜fim▁hole｜>",
    "<SUF>",
    "▁<SUF>",
    "<|code_suffix|>",
    "<|suffix|>",
    "<|fim_middle|>",
    "<fim-middle>",
    "<fim_middle>",
    "<｜fim▁end｜>",
    "<MID>",
    "▁<MID>",
    "<|code_middle|>",
    "<|middle|>",
];

/// Whether a token of this name ends a generation.
pub(super) fn ends_generation(name: &str) -> bool {
    END_NAMES.contains(&name)
}

/// Whether a token of this name is a control token.
pub(super) fn is_control(name: &str) -> bool {
    ends_generation(name) || CONTROL_NAMES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn special(add_bos: bool, add_eos: bool) -> SpecialTokens {
        let token = |id, text: &str| Some(SpecialToken { id, text: text.into() });
        SpecialTokens {
            bos: token(1, "<s>"),
            eos: token(2, "</s>"),
            add_bos,
            add_eos,
            end: vec![2],
        }
    }

    #[test]
    fn a_text_gets_what_the_tokenizer_adds_by_itself() {
        let surrounded = |add_bos, add_eos| {
            let mut ids = vec![7];
            special(add_bos, add_eos).surround(&mut ids);
            ids
        };
        assert_eq!(surrounded(false, false), [7]);
        assert_eq!(surrounded(true, false), [1, 7]);
        assert_eq!(surrounded(true, true), [1, 7, 2]);
    }

    #[test]
    fn a_rendered_prompt_never_begins_twice_and_gets_no_end() {
        let begun = |add_bos, mut ids: Vec<u32>| {
            special(add_bos, true).begin(&mut ids);
            ids
        };
        assert_eq!(begun(true, vec![7]), [1, 7]);
        assert_eq!(begun(true, vec![1, 7]), [1, 7]);
        assert_eq!(begun(false, vec![7]), [7]);
    }
}
