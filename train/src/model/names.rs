//! What tensors are called: the names that published models of an architecture use, so that a shard table, a checkpoint and an adapter
//! all speak of the same tensor (training.md M2).

/// Whose names, and whose small parts that others do not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// Concordat's own.
    Own,
    /// BERT (Devlin et al. 2018, arXiv 1810.04805).
    Bert,
    /// GPT-2.
    Gpt2,
    /// Llama (arXiv 2302.13971) and its kin, Qwen2 among them.
    Llama,
    /// T5 (Raffel et al. 2020, arXiv 1910.10683).
    T5,
    /// BART (Lewis et al. 2019, arXiv 1910.13461).
    Bart,
}

/// One of the two stacks of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Reads the whole text.
    Encoder,
    /// Writes token by token.
    Decoder,
}

/// Names of the layers that make queries, keys and values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Projections {
    /// One layer makes all three.
    Fused(String),
    /// Each has its own.
    Apart([String; 3]),
}

/// Names of the layers of one attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AttentionNames {
    pub(crate) norm: String,
    pub(crate) projections: Projections,
    pub(crate) output: String,
}

/// Names of the layers of one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockNames {
    /// Beginning of all of them.
    pub(crate) path: String,
    pub(crate) attention: AttentionNames,
    /// Attention to the other stack.
    pub(crate) cross: AttentionNames,
    pub(crate) feed_forward_norm: String,
    pub(crate) up: String,
    pub(crate) gate: String,
    pub(crate) down: String,
}

/// Names of what one side of a model has between the shared table of tokens and its blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntranceNames {
    /// The side's own table of places.
    pub(crate) places: String,
    /// The normalisation after it.
    pub(crate) norm: String,
}

fn apart(path: &str, parts: [&str; 3]) -> Projections {
    Projections::Apart(parts.map(|part| format!("{path}.{part}")))
}

impl AttentionNames {
    fn new(norm: String, projections: Projections, output: String) -> Self {
        Self { norm, projections, output }
    }
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Encoder => "encoder",
            Self::Decoder => "decoder",
        }
    }
}

impl BlockNames {
    /// Concordat's own names under a path.
    pub(crate) fn own(path: &str) -> Self {
        let at = |part: &str| format!("{path}.{part}");
        let cross = apart(&at("cross"), ["query", "key", "value"]);
        Self {
            path: path.into(),
            attention: AttentionNames::new(at("attention_norm"), Projections::Fused(at("attention.qkv")), at("attention.output")),
            cross: AttentionNames::new(at("cross_norm"), cross, at("cross.output")),
            feed_forward_norm: at("feed_forward_norm"),
            up: at("feed_forward.up"),
            gate: at("feed_forward.gate"),
            down: at("feed_forward.down"),
        }
    }

    fn bert(path: &str) -> Self {
        let at = |part: &str| format!("{path}.{part}");
        let attention = |whose: &str| {
            let own = apart(&at(&format!("{whose}.self")), ["query", "key", "value"]);
            AttentionNames::new(at(&format!("{whose}.output.LayerNorm")), own, at(&format!("{whose}.output.dense")))
        };
        let (up, gate, down) = (at("intermediate.dense"), at("intermediate.gate"), at("output.dense"));
        let (attention, cross) = (attention("attention"), attention("crossattention"));
        Self { path: path.into(), attention, cross, feed_forward_norm: at("output.LayerNorm"), up, gate, down }
    }

    fn gpt2(path: &str) -> Self {
        let at = |part: &str| format!("{path}.{part}");
        let cross = apart(&at("crossattention"), ["query", "key", "value"]);
        Self {
            path: path.into(),
            attention: AttentionNames::new(at("ln_1"), Projections::Fused(at("attn.c_attn")), at("attn.c_proj")),
            cross: AttentionNames::new(at("ln_cross_attn"), cross, at("crossattention.c_proj")),
            feed_forward_norm: at("ln_2"),
            up: at("mlp.c_fc"),
            gate: at("mlp.c_gate"),
            down: at("mlp.c_proj"),
        }
    }

    fn llama(path: &str) -> Self {
        let at = |part: &str| format!("{path}.{part}");
        let attention = |norm: &str, whose: &str| {
            let own = apart(&at(whose), ["q_proj", "k_proj", "v_proj"]);
            AttentionNames::new(at(norm), own, at(&format!("{whose}.o_proj")))
        };
        Self {
            path: path.into(),
            attention: attention("input_layernorm", "self_attn"),
            cross: attention("cross_layernorm", "cross_attn"),
            feed_forward_norm: at("post_attention_layernorm"),
            up: at("mlp.up_proj"),
            gate: at("mlp.gate_proj"),
            down: at("mlp.down_proj"),
        }
    }

    /// The feed-forward part is the last of two or three, by side; under a gate its first layer comes in two.
    fn t5(path: &str, side: Side, gated: bool) -> Self {
        let at = |part: &str| format!("{path}.layer.{part}");
        let attention = |whose: &str, place: u8| {
            let own = apart(&at(&format!("{place}.{whose}")), ["q", "k", "v"]);
            AttentionNames::new(at(&format!("{place}.layer_norm")), own, at(&format!("{place}.{whose}.o")))
        };
        let last = match side {
            Side::Encoder => 1,
            Side::Decoder => 2,
        };
        let dense = |part: &str| at(&format!("{last}.DenseReluDense.{part}"));
        Self {
            path: path.into(),
            attention: attention("SelfAttention", 0),
            cross: attention("EncDecAttention", 1),
            feed_forward_norm: at(&format!("{last}.layer_norm")),
            up: dense(if gated { "wi_1" } else { "wi" }),
            gate: dense("wi_0"),
            down: dense("wo"),
        }
    }

    /// Each normalisation stands behind the part that it is named after; the last one behind the feed-forward part.
    fn bart(path: &str) -> Self {
        let at = |part: &str| format!("{path}.{part}");
        let attention = |whose: &str| {
            let own = apart(&at(whose), ["q_proj", "k_proj", "v_proj"]);
            AttentionNames::new(at(&format!("{whose}_layer_norm")), own, at(&format!("{whose}.out_proj")))
        };
        Self {
            path: path.into(),
            attention: attention("self_attn"),
            cross: attention("encoder_attn"),
            feed_forward_norm: at("final_layer_norm"),
            up: at("fc1"),
            gate: at("fc_gate"),
            down: at("fc2"),
        }
    }
}

impl Spelling {
    /// Names of one block.
    pub(crate) fn block(self, side: Side, layer: usize, gated: bool) -> BlockNames {
        match self {
            Self::Own => BlockNames::own(&format!("{}.layers.{layer}", side.name())),
            Self::Bert => BlockNames::bert(&format!("bert.encoder.layer.{layer}")),
            Self::Gpt2 => BlockNames::gpt2(&format!("transformer.h.{layer}")),
            Self::Llama => BlockNames::llama(&format!("model.layers.{layer}")),
            Self::T5 => BlockNames::t5(&format!("{}.block.{layer}", side.name()), side, gated),
            Self::Bart => BlockNames::bart(&format!("model.{}.layers.{layer}", side.name())),
        }
    }

    /// The table of tokens.
    pub(crate) fn tokens(self) -> &'static str {
        match self {
            Self::Own => "embeddings.tokens.weight",
            Self::Bert => "bert.embeddings.word_embeddings.weight",
            Self::Gpt2 => "transformer.wte.weight",
            Self::Llama => "model.embed_tokens.weight",
            Self::T5 => "shared.weight",
            Self::Bart => "model.shared.weight",
        }
    }

    /// The table of places, where there is one for all.
    pub(crate) fn places(self) -> &'static str {
        match self {
            Self::Bert => "bert.embeddings.position_embeddings.weight",
            Self::Gpt2 => "transformer.wpe.weight",
            Self::Own | Self::Llama | Self::T5 | Self::Bart => "embeddings.positions.weight",
        }
    }

    /// The table of segments, where there is one.
    pub(crate) fn segments(self) -> &'static str {
        match self {
            Self::Bert => "bert.embeddings.token_type_embeddings.weight",
            Self::Own | Self::Gpt2 | Self::Llama | Self::T5 | Self::Bart => "embeddings.segments.weight",
        }
    }

    /// The normalisation right after the tables of all: only BERT has one.
    pub(crate) fn embedding_norm(self) -> Option<&'static str> {
        match self {
            Self::Bert => Some("bert.embeddings.LayerNorm"),
            Self::Own | Self::Gpt2 | Self::Llama | Self::T5 | Self::Bart => None,
        }
    }

    /// Places and normalisation of one side, where each side has its own: only BART's do.
    pub(crate) fn entrance(self, side: Side) -> Option<EntranceNames> {
        let at = |part: &str| format!("model.{}.{part}", side.name());
        match self {
            Self::Bart => Some(EntranceNames { places: at("embed_positions.weight"), norm: at("layernorm_embedding") }),
            Self::Own | Self::Bert | Self::Gpt2 | Self::Llama | Self::T5 => None,
        }
    }

    /// The convolution over the tables.
    pub(crate) fn stem(self) -> &'static str {
        "embeddings.stem"
    }

    /// The normalisation after the last block.
    pub(crate) fn last_norm(self, side: Side) -> String {
        match self {
            Self::Gpt2 => "transformer.ln_f".into(),
            Self::Llama => "model.norm".into(),
            Self::T5 => format!("{}.final_layer_norm", side.name()),
            Self::Bart => format!("model.{}.layer_norm", side.name()),
            Self::Own | Self::Bert => format!("{}.norm", side.name()),
        }
    }

    /// The table of distances, which all blocks of a side share.
    pub(crate) fn distances(self, side: Side) -> String {
        match self {
            Self::T5 => format!("{}.block.0.layer.0.SelfAttention.relative_attention_bias.weight", side.name()),
            Self::Own | Self::Bert | Self::Gpt2 | Self::Llama | Self::Bart => format!("{}.distances.weight", side.name()),
        }
    }

    /// The output head over the vocabulary, where it is not the token table.
    pub(crate) fn head(self) -> &'static str {
        match self {
            Self::Own => "head.weight",
            Self::Bert => "cls.predictions.decoder.weight",
            Self::Gpt2 | Self::Llama | Self::T5 | Self::Bart => "lm_head.weight",
        }
    }

    /// What a head over the vocabulary adds to its scores, where nothing else stands before it: only BART's does.
    pub(crate) fn head_shift(self) -> Option<&'static str> {
        match self {
            Self::Bart => Some("final_logits_bias"),
            Self::Own | Self::Bert | Self::Gpt2 | Self::Llama | Self::T5 => None,
        }
    }

    /// What BERT puts between the last block and the head over the vocabulary: a layer, its normalisation, and the head's own shift.
    pub(crate) fn transform(self) -> Option<[&'static str; 3]> {
        match self {
            Self::Bert => Some(["cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.bias"]),
            Self::Own | Self::Gpt2 | Self::Llama | Self::T5 | Self::Bart => None,
        }
    }

    /// What BERT makes of the first token before it is classified. Without one, the mean of all tokens is classified.
    pub(crate) fn pooler(self) -> Option<&'static str> {
        match self {
            Self::Bert => Some("bert.pooler.dense"),
            Self::Own | Self::Gpt2 | Self::Llama | Self::T5 | Self::Bart => None,
        }
    }

    /// The layer over classes or labels.
    pub(crate) fn classifier(self) -> &'static str {
        "classifier"
    }
}
