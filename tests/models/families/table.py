"""Which families of models are trained rightly, and which are refused by what sentence: one row a family.

What is not said of a row is as in `tests.models.families.tiny`.
"""

from tests.conftest import VOCABULARY
from tests.models.families.tiny import Family, Sizes

PADDED: Sizes = {
    "pad_token_id": len(VOCABULARY),
    "vocab_size": len(VOCABULARY) + 1,
    "max_position_embeddings": 64,
}
"""For models that need an id of padding, and may begin to count positions behind it: none that is ever said."""

BOTTLENECK: Sizes = {"num_key_value_heads": 2, "head_dim": 4}
"""Attention through a bottleneck: as many heads of keys as of queries, and only part of a head turns."""

DECODER: Sizes = {"is_decoder": True}
"""An encoder told to look back only."""

LINEAR: Sizes = {"layer_types": ["linear_attention", "full_attention"]}
CONVOLVED: Sizes = {"layer_types": ["conv", "full_attention"]}
WINDOWED: Sizes = {"layer_types": ["sliding_attention", "full_attention"]}
"""What the two layers are."""

SHARED_MAMBA: Sizes = {
    "num_hidden_layers": 4,
    "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"],
    "attention_hidden_size": 32,
    "attention_head_dim": 16,
    "num_key_value_heads": 2,
}
"""State spaces with an attention layer that comes back."""

TEXT: Sizes = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 24,
    "head_dim": 8,
    "max_position_embeddings": 32,
    "initializer_range": 0.2,
}

VISION: Sizes = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 28,
    "patch_size": 14,
}


GLYPHS: Sizes = {"pronunciation_vocab_size": 16, "shape_vocab_size": 16}

PER_LAYER: Sizes = {"vocab_size_per_layer_input": len(VOCABULARY), "hidden_size_per_layer_input": 4}

SEES: Sizes = {
    "text_config": {"model_type": "llama", **TEXT},
    "vision_config": {"model_type": "clip_vision_model", **VISION},
}

QWEN_SEES: Sizes = {
    "text_config": TEXT,
    "vision_config": {
        "depth": 1,
        "hidden_size": 16,
        "num_heads": 2,
        "intermediate_size": 16,
        "out_hidden_size": 16,
    },
}

REFORMER: Sizes = {
    "is_decoder": True,
    "attn_layers": ["local", "lsh"],
    "axial_pos_shape": [4, 8],
    "axial_pos_embds_dim": [8, 8],
    "feed_forward_size": 24,
}

GEMMA_SEES: Sizes = {
    "text_config": {**TEXT, **WINDOWED, "sliding_window": 4},
    "vision_config": VISION,
    "mm_tokens_per_image": 4,
    "tie_word_embeddings": False,
}

T5: Sizes = {"d_kv": 8, "initializer_factor": 0.5}
"""T5 draws its weights by a factor of its own."""

DBRX: Sizes = {
    "attn_config": {"kv_n_heads": 1, "clip_qkv": 8.0, "rope_theta": 1e4},
    "ffn_config": {
        "ffn_hidden_size": 24,
        "moe_num_experts": 4,
        "moe_top_k": 2,
        "ffn_act_fn": {"name": "silu"},
    },
}

PEFT_REFUSES = (
    "no adapter was kept, for peft cannot read it .*'out_proj' is incompatible with Mamba-based models"
)
SHAPES_DIFFER = "cannot have adapter: prefix, for its keys and values are not of one shape in all layers"
HOLDS_STATES = "cannot have adapter: prefix, for it remembers something else than keys and values"
SEES_PADDING = "behind a prefix cannot be trained: left padding changes what it says"
PEFT_MISREADS = "no adapter was kept, for peft reads something else in it"

RIGHT = (
    Family("afmoe"),
    Family("apertus"),
    Family("arcee"),
    Family("aria_text"),
    Family("axk1", BOTTLENECK, no_prefix=SHAPES_DIFFER),
    Family("axk2", BOTTLENECK, no_prefix=HOLDS_STATES),
    Family(
        "bailing_hybrid",
        {**BOTTLENECK, "layer_group_size": 2, "first_k_dense_replace": 1},
        no_prefix=HOLDS_STATES,
    ),
    Family("bamba", {"attn_layer_indices": [1]}, no_prefix=HOLDS_STATES),
    Family("beam"),
    Family("bert decoder", DECODER, kind="bert"),
    Family("big_bird decoder", {**DECODER, "attention_type": "original_full"}, kind="big_bird"),
    Family("biogpt"),
    Family("bitnet"),
    Family("bloom", brief=True),
    Family("camembert decoder", {**DECODER, **PADDED}, kind="camembert"),
    Family("codegen", {"n_head": 4}),
    Family("cohere"),
    Family("cohere2", WINDOWED),
    Family("cohere2_moe"),
    Family("ctrl", {"dff": 24}),
    Family("cwm"),
    Family("dbrx", DBRX),
    Family("deepseek_v2", BOTTLENECK, no_prefix=SHAPES_DIFFER),
    Family("deepseek_v3", BOTTLENECK, no_prefix=SHAPES_DIFFER),
    Family("deepseek_v32", BOTTLENECK, brief=True, no_prefix=HOLDS_STATES),
    Family("deepseek_v4", {"o_groups": 2}, no_prefix=HOLDS_STATES),
    Family("diffllama", {"num_key_value_heads": 2, "attention_dropout": 0.0}),
    Family("doge"),
    Family("dots1"),
    Family("dots3_note_text", BOTTLENECK, no_prefix=HOLDS_STATES),
    Family("electra decoder", DECODER, kind="electra"),
    Family("ernie decoder", DECODER, kind="ernie"),
    Family("ernie4_5"),
    Family("ernie4_5_moe"),
    Family("exaone4", WINDOWED),
    Family("exaone_moe"),
    Family("falcon", brief=True),
    Family("falcon 40b", {"new_decoder_architecture": True, "num_kv_heads": 1}, kind="falcon"),
    Family("falcon alibi", {"alibi": True}, kind="falcon"),
    Family("falcon_h1", {"mamba_d_ssm": 32}, brief=True, no_adapter=PEFT_REFUSES, no_prefix=HOLDS_STATES),
    Family("flex_olmo"),
    Family("flint"),
    Family("gemma"),
    Family("gemma2", WINDOWED),
    Family("gemma3", GEMMA_SEES, no_prefix=SEES_PADDING),
    Family("gemma3_text", WINDOWED, brief=True),
    Family("gemma3n_text", {**PER_LAYER, **WINDOWED, "laurel_rank": 4, "num_kv_shared_layers": 0}),
    Family("gemma4_text", PER_LAYER, no_prefix=SHAPES_DIFFER, adds_up=True),
    Family("gemma4_unified_text", no_prefix=SHAPES_DIFFER),
    Family("glm"),
    Family("glm4"),
    Family("glm4_moe"),
    Family("glm4_moe_lite", BOTTLENECK, no_prefix=SHAPES_DIFFER),
    Family("glm_moe_dsa", BOTTLENECK, no_prefix=HOLDS_STATES),
    Family("gpt2", brief=True),
    Family("gpt_bigcode"),
    Family("gpt_neo", {"attention_types": [[["global", "local"], 1]]}, brief=True),
    Family("gpt_neox", brief=True),
    Family("gpt_neox_japanese"),
    Family("gpt_oss", WINDOWED),
    Family("gptj"),
    Family("granite"),
    Family("granite_swa"),
    Family("granitemoe"),
    Family("granitemoe_swa"),
    Family("granitemoehybrid", {"layer_types": ["mamba", "attention"]}, no_prefix=HOLDS_STATES),
    Family("granitemoeshared"),
    Family("helium"),
    Family("hrm_text", own_prefix=True),
    Family("hunyuan_v1_dense"),
    Family("hunyuan_v1_moe"),
    Family("hy_v3"),
    Family("hy_v4", no_prefix=HOLDS_STATES),
    Family("hyperclovax"),
    Family(
        "inkling_text", {"swa_num_attention_heads": 2, "swa_num_key_value_heads": 1}, no_prefix=HOLDS_STATES
    ),
    Family("jais2"),
    Family("jamba", {"attn_layer_period": 2, "attn_layer_offset": 1}, no_prefix=HOLDS_STATES),
    Family("jetmoe"),
    Family("kimi_linear", {**BOTTLENECK, **LINEAR}, no_prefix=HOLDS_STATES),
    Family("kolibri1"),
    Family("laguna", no_adapter=PEFT_MISREADS),
    Family("lfm2", CONVOLVED, no_prefix=HOLDS_STATES),
    Family("lfm2_moe", {**CONVOLVED, "num_dense_layers": 1}, no_prefix=HOLDS_STATES),
    Family("lfm3", CONVOLVED, no_prefix=HOLDS_STATES),
    Family("llama", brief=True),
    Family("llama4_text"),
    Family("longcat_flash", {**BOTTLENECK, "zero_expert_num": 2}, no_prefix=SHAPES_DIFFER),
    Family("megatron-bert decoder", DECODER, kind="megatron-bert"),
    Family("mellum"),
    Family("mimo_v2_flash", no_prefix=SHAPES_DIFFER),
    Family("minicpm3", {**BOTTLENECK, "scale_emb": 1}, no_prefix=SHAPES_DIFFER),
    Family("minimax_m2"),
    Family("minimax_m3_vl_text", {"index_block_size": 2, "index_topk_blocks": 1}),
    Family("ministral"),
    Family("ministral3"),
    Family("mistral"),
    Family("mixtral", brief=True),
    Family("modernbert-decoder", {**PADDED, **WINDOWED}),
    Family("mpt", no_prefix=SEES_PADDING),
    Family("nanochat"),
    Family("nemotron"),
    Family(
        "nemotron_h",
        {"layers_block_type": ["mamba", "attention", "moe", "mlp"]},
        no_adapter=PEFT_REFUSES,
        no_prefix=HOLDS_STATES,
    ),
    Family("olmo"),
    Family("olmo2"),
    Family("olmo3", WINDOWED),
    Family("olmo_hybrid", LINEAR, no_prefix=HOLDS_STATES),
    Family("olmoe"),
    Family("opt", brief=True),
    Family("opt 350m", {"word_embed_proj_dim": 8, "do_layer_norm_before": False}, kind="opt"),
    Family("persimmon"),
    Family("phi"),
    Family("phi3"),
    Family("phimoe"),
    Family("qwen2", brief=True),
    Family("qwen2_moe"),
    Family("qwen3", brief=True),
    Family("qwen3_5_moe_text", LINEAR, no_prefix=HOLDS_STATES),
    Family("qwen3_5_text", LINEAR, no_prefix=HOLDS_STATES),
    Family("qwen3_moe"),
    Family("qwen3_next", LINEAR, no_prefix=HOLDS_STATES),
    Family(
        "rembert decoder", {**DECODER, "input_embedding_size": 8, "output_embedding_size": 8}, kind="rembert"
    ),
    Family("roberta decoder", {**DECODER, **PADDED}, kind="roberta"),
    Family("roc_bert decoder", {**DECODER, **GLYPHS}, kind="roc_bert"),
    Family("roformer decoder", DECODER, kind="roformer", no_prefix=SEES_PADDING),
    Family("seed_oss"),
    Family("smollm3"),
    Family("solar_open"),
    Family("stablelm"),
    Family("starcoder2"),
    Family("vaultgemma"),
    Family("xglm"),
    Family("xlm-roberta decoder", {**DECODER, **PADDED}, kind="xlm-roberta"),
    Family("youtu", BOTTLENECK, no_prefix=SHAPES_DIFFER),
    Family("zamba", {**SHARED_MAMBA, "attn_layer_period": 2, "attn_layer_offset": 1}, no_prefix=HOLDS_STATES),
    Family("zamba2", {**SHARED_MAMBA, "adapter_rank": 4}, no_prefix=HOLDS_STATES),
    Family("zaya", {"num_experts_per_tok": 1, "router_hidden_size": 8}, no_prefix=HOLDS_STATES),
    Family("bart", {"decoder_start_token_id": 0}, encodes=True, brief=True),
    Family("bigbird_pegasus", {"attention_type": "original_full"}, encodes=True),
    Family("blenderbot", encodes=True),
    Family("blenderbot-small", encodes=True),
    Family("longt5", T5, encodes=True),
    Family("m2m_100", {**PADDED, "decoder_start_token_id": 0}, encodes=True),
    Family("marian", encodes=True),
    Family("mbart", encodes=True),
    Family("mt5", T5, encodes=True),
    Family("mvp", encodes=True),
    Family("nllb-moe", {**PADDED, "decoder_start_token_id": 0}, encodes=True),
    Family("pegasus", encodes=True, brief=True),
    Family("pegasus_x", encodes=True),
    Family("plbart", encodes=True),
    Family("switch_transformers", T5, encodes=True),
    Family("t5", T5, encodes=True, brief=True),
    Family(
        "t5 1.1",
        {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
        kind="t5",
        encodes=True,
    ),
    Family("umt5", T5, encodes=True),
)
"""Right to 1e-4 nats in everything that `test_contract.py` asks."""

ALONE = Family("led", {"max_encoder_position_embeddings": 32, "attention_window": 8}, encodes=True)
"""Right alone; in a pack its encoder, which has its rows on another axis, would mix the trials."""

ANOTHER_KIND = "not a causal language model or encoder–decoder; name one whose config.json says"
AHEAD = "what it says of a token depends on those after it"
PADDING = "left padding changes what it says"
FORGETS = "it does not remember what it has read"
FAILS_ENCODING = "reading and writing a short text as an encoder–decoder, it fails with"
FAILS = "reading and writing a short text as a causal language model, it fails with"

REFUSED = (
    Family("bart decoder", kind="bart", sentence=PADDING, brief=True),
    Family("bert", sentence=AHEAD, brief=True),
    Family("bert masked", kind="bert", model="BertForMaskedLM", sentence=ANOTHER_KIND),
    Family("bert-generation", sentence=ANOTHER_KIND),
    Family("big_bird", {"attention_type": "original_full"}, sentence=AHEAD),
    Family("bigbird_pegasus decoder", kind="bigbird_pegasus", sentence=PADDING),
    Family("blenderbot decoder", kind="blenderbot", sentence=PADDING),
    Family("camembert", PADDED, sentence=AHEAD),
    Family(
        "cpmant", {"dim_head": 8, "prompt_types": 2, "prompt_length": 4, "segment_types": 4}, sentence=FAILS
    ),
    Family("electra", sentence=AHEAD),
    Family("falcon_mamba", sentence=FORGETS),
    Family("gpt2 classifier", kind="gpt2", model="GPT2ForSequenceClassification", sentence=ANOTHER_KIND),
    Family("gpt2 double heads", kind="gpt2", model="GPT2DoubleHeadsModel", sentence=ANOTHER_KIND),
    Family("llava", SEES, model="LlavaForConditionalGeneration", sentence=ANOTHER_KIND),
    Family("mamba", sentence=FORGETS, brief=True),
    Family("mamba2", {"num_heads": 4}, sentence=FORGETS),
    Family("marian decoder", kind="marian", sentence=PADDING),
    Family("mbart decoder", kind="mbart", sentence=PADDING),
    Family("minimax", LINEAR, sentence=FAILS),
    Family("mistral3", SEES, model="Mistral3ForConditionalGeneration", sentence=ANOTHER_KIND),
    Family("moshi", sentence=FORGETS),
    Family("openai-gpt", sentence=FAILS),
    Family("pegasus decoder", kind="pegasus", sentence=PADDING),
    Family("prophetnet", sentence=FAILS_ENCODING, encodes=True),
    Family("prophetnet decoder", PADDED, kind="prophetnet", sentence=FAILS),
    Family("qwen2_5_vl", QWEN_SEES, model="Qwen2_5_VLForConditionalGeneration", sentence=ANOTHER_KIND),
    Family("recurrent_gemma", {"block_types": ["recurrent", "attention"]}, sentence=PADDING, brief=True),
    Family("reformer", REFORMER, sentence=ANOTHER_KIND),
    Family("roberta", PADDED, sentence=AHEAD),
    Family("roc_bert", GLYPHS, sentence=AHEAD),
    Family("roformer", sentence=AHEAD),
    Family("rwkv", sentence=PADDING),
    Family("trocr", sentence=FAILS),
    Family("whisper", {"pad_token_id": 0}, model="WhisperForConditionalGeneration", sentence=ANOTHER_KIND),
    Family("whisper decoder", {"pad_token_id": 0}, kind="whisper", sentence=FAILS),
    Family("xlm", PADDED, sentence=FAILS),
    Family("xlnet", sentence=AHEAD),
    Family("xlstm", {"num_blocks": 2}, sentence=FAILS),
)
"""Never accepted in silence; whether adapters or all weights are trained makes no difference."""
