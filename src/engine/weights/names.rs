//! What the parts of a decoder are called in GGUF and in safetensors files.

/// The naming scheme of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// llama.cpp's names; q and k rows of llama are in its own order.
    Gguf,
    /// Names of Hugging Face transformers.
    HuggingFace,
}

/// A tensor of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    AttentionNorm,
    Q,
    K,
    V,
    Qkv,
    QBias,
    KBias,
    VBias,
    QNorm,
    KNorm,
    Output,
    /// After attention, in gemma3.
    PostAttentionNorm,
    FfnNorm,
    /// Before the feed-forward part, in gemma3, whose files name it otherwise.
    PreFfnNorm,
    /// After the feed-forward part, in gemma3.
    PostFfnNorm,
    Gate,
    Up,
    GateUp,
    Down,
}

impl Naming {
    pub(super) fn embedding(self) -> &'static str {
        match self {
            Self::Gguf => "token_embd.weight",
            Self::HuggingFace => "model.embed_tokens.weight",
        }
    }

    pub(super) fn norm(self) -> &'static str {
        match self {
            Self::Gguf => "output_norm.weight",
            Self::HuggingFace => "model.norm.weight",
        }
    }

    pub(super) fn head(self) -> &'static str {
        match self {
            Self::Gguf => "output.weight",
            Self::HuggingFace => "lm_head.weight",
        }
    }

    pub(super) fn part(self, layer: usize, part: Part) -> String {
        match self {
            Self::Gguf => format!("blk.{layer}.{}", gguf(part)),
            Self::HuggingFace => format!("model.layers.{layer}.{}", hugging_face(part)),
        }
    }

    /// Tensors that may be there and are not needed.
    pub(super) fn is_ignored(self, name: &str) -> bool {
        match self {
            Self::Gguf => false,
            // stored frequencies of old exports
            Self::HuggingFace => name.ends_with(".rotary_emb.inv_freq"),
        }
    }
}

fn gguf(part: Part) -> &'static str {
    match part {
        Part::AttentionNorm => "attn_norm.weight",
        Part::Q => "attn_q.weight",
        Part::K => "attn_k.weight",
        Part::V => "attn_v.weight",
        Part::Qkv => "attn_qkv.weight",
        Part::QBias => "attn_q.bias",
        Part::KBias => "attn_k.bias",
        Part::VBias => "attn_v.bias",
        Part::QNorm => "attn_q_norm.weight",
        Part::KNorm => "attn_k_norm.weight",
        Part::Output => "attn_output.weight",
        Part::PostAttentionNorm => "post_attention_norm.weight",
        Part::FfnNorm | Part::PreFfnNorm => "ffn_norm.weight",
        Part::PostFfnNorm => "post_ffw_norm.weight",
        Part::Gate => "ffn_gate.weight",
        Part::Up | Part::GateUp => "ffn_up.weight",
        Part::Down => "ffn_down.weight",
    }
}

fn hugging_face(part: Part) -> &'static str {
    match part {
        Part::AttentionNorm => "input_layernorm.weight",
        Part::Q => "self_attn.q_proj.weight",
        Part::K => "self_attn.k_proj.weight",
        Part::V => "self_attn.v_proj.weight",
        Part::Qkv => "self_attn.qkv_proj.weight",
        Part::QBias => "self_attn.q_proj.bias",
        Part::KBias => "self_attn.k_proj.bias",
        Part::VBias => "self_attn.v_proj.bias",
        Part::QNorm => "self_attn.q_norm.weight",
        Part::KNorm => "self_attn.k_norm.weight",
        Part::Output => "self_attn.o_proj.weight",
        Part::FfnNorm | Part::PostAttentionNorm => "post_attention_layernorm.weight",
        Part::PreFfnNorm => "pre_feedforward_layernorm.weight",
        Part::PostFfnNorm => "post_feedforward_layernorm.weight",
        Part::Gate => "mlp.gate_proj.weight",
        Part::Up => "mlp.up_proj.weight",
        Part::GateUp => "mlp.gate_up_proj.weight",
        Part::Down => "mlp.down_proj.weight",
    }
}
