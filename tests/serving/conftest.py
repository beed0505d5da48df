"""One real server for all Triton tests: a tiny random Llama behind tritonserver and frontend, by `serve`."""

from pathlib import Path

import pytest
from serving_process import start_server

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A Llama with random weights that never ends a text by itself: answers are as long as they may be."""
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<pad>", "</think>", *map(chr, range(32, 127)), "\n"]
    inner = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    inner.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>")
    tokenizer.add_tokens(["</think>", "\n"])
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=16384,
            eos_token_id=None,
            bos_token_id=None,
            pad_token_id=0,
        )
    )
    folder = tmp_path_factory.mktemp("tiny")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_lora(tiny_model, tmp_path_factory):
    """A LoRA for the tiny model, with random weights that change what it says."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=256, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    folder = tmp_path_factory.mktemp("lora")
    get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def faulty_repository(tmp_path_factory):
    """The shipped model repository, its model.py wrapped so that a prompt can kill the engine."""
    shipped = HERE.parents[1] / "model_repository" / "controllable"
    folder = tmp_path_factory.mktemp("repository") / "controllable"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text((shipped / "config.pbtxt").read_text())
    (folder / "1" / "model.py").write_text((HERE / "faulty_model.py").read_text())
    return folder.parent


@pytest.fixture(scope="session")
def server(tiny_model, tiny_lora, faulty_repository, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    law = {"name": "law", "uri": str(tiny_lora), "domain": "court", "specialTokens": ["verdict:"]}
    adapters = [law, {"name": "careful", "budgetScale": "1.5"}]
    running = start_server(
        folder, tiny_model, faulty_repository, adapters=adapters, CONTROLLABLE_SILENCE_SECONDS="4"
    )
    try:
        running.wait("ready", 200, 60)
        yield running
    finally:
        running.process.terminate()
        assert running.process.wait(30) == 0
