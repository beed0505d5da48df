"""A tiny Llama and a LoRA for it, written as files: neither torch nor transformers is loaded for that."""

import json

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

WORDS = ["<pad>", "</think>", *map(chr, range(32, 127)), "\n"]
HIDDEN, INNER, LAYERS, HEADS, KV_HEADS = 32, 64, 2, 4, 2
KV = HIDDEN // HEADS * KV_HEADS
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": len(WORDS),
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "max_position_embeddings": 16384,
    "eos_token_id": None,
    "bos_token_id": None,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
    "dtype": "float32",
}
LINEAR = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (KV, HIDDEN),
    "self_attn.v_proj": (KV, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}
"""The matrices of a layer, by (outputs, inputs)."""


def save_model(folder):
    """A Llama with random weights that never ends a text by itself, as it has no token for that."""
    draw = np.random.default_rng(0)

    def random(*shape):
        return draw.normal(0, 0.02, shape).astype(np.float32)

    weights = {
        "model.embed_tokens.weight": random(len(WORDS), HIDDEN),
        "model.norm.weight": np.ones(HIDDEN, np.float32),
        "lm_head.weight": random(len(WORDS), HIDDEN),
    }
    for layer in (f"model.layers.{number}" for number in range(LAYERS)):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{layer}.{norm}.weight"] = np.ones(HIDDEN, np.float32)
        weights |= {f"{layer}.{name}.weight": random(*shape) for name, shape in LINEAR.items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    _save_json(folder / "config.json", CONFIG)
    _tokenizer().save(str(folder / "tokenizer.json"))
    template = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "chat_template": template}
    _save_json(folder / "tokenizer_config.json", about)


def save_lora(folder):
    """A LoRA for it, with random weights that change what it says."""
    draw, rank, targets = np.random.default_rng(1), 4, ("self_attn.q_proj", "mlp.down_proj")
    weights = {}
    for layer in (f"base_model.model.model.layers.{number}" for number in range(LAYERS)):
        for name in targets:
            outputs, inputs = LINEAR[name]
            weights[f"{layer}.{name}.lora_A.weight"] = draw.normal(0, 0.1, (rank, inputs)).astype(np.float32)
            weights[f"{layer}.{name}.lora_B.weight"] = draw.normal(0, 0.3, (outputs, rank)).astype(np.float32)
    save_file(weights, folder / "adapter_model.safetensors", {"format": "pt"})
    modules = [name.rpartition(".")[2] for name in targets]
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 256, "target_modules": modules}
    _save_json(folder / "adapter_config.json", config)


def _tokenizer():
    """One token a character, and one for the end of thinking."""
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken("<pad>", special=True)])
    tokenizer.add_tokens(["</think>", "\n"])
    return tokenizer


def _save_json(path, document):
    path.write_text(json.dumps(document, indent=2))
