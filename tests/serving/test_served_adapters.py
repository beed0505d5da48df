"""The adapters that engine.json names are in the engine when it starts, or it doesn't start and says why."""

import json
import shutil

import pytest
import torch
from controllable_inference.errors import AdapterError
from controllable_inference.serving.config import EngineConfig
from controllable_inference.serving.engine_metrics import BufferedObserver
from controllable_inference.serving.manifest import parse_manifest
from controllable_inference.serving.triton_model import ServedModel, build_engine
from peft import LoraConfig, get_peft_model
from serving_fakes import RecordingChannel, RecordingSeries
from test_engine_json import manifest
from transformers import AutoModelForCausalLM


def engine_config(model, *adapters):
    document = parse_manifest(manifest()).engine_config(model).to_json()
    full = [
        {"domain": "d", "path": None, "specialTokens": [], "budgetScale": "1"} | each for each in adapters
    ]
    document["model"]["adapters"] = full
    return EngineConfig.parse(document, "engine.json")


@pytest.fixture
def refusal(tiny_model):
    """What an adapter in a folder is refused with."""

    def refuse(folder):
        with pytest.raises(AdapterError) as error:
            build_engine(
                engine_config(tiny_model, {"name": "law", "path": str(folder)}),
                BufferedObserver(lambda *_: RecordingSeries()),
            )
        return str(error.value)

    return refuse


def test_a_request_gets_the_adapter_that_it_names(tiny_model, tiny_lora):
    law = {"name": "law", "path": str(tiny_lora), "specialTokens": ["verdict:"], "budgetScale": "0.5"}
    served = ServedModel(engine_config(tiny_model, law), build_engine, lambda *_: RecordingSeries())
    try:
        answers = {}
        for name in (b"", b"law"):
            channel = answers[name] = RecordingChannel()
            options = {"sampling_parameters": b'{"max_tokens": 40, "temperature": 0}', "adapter": name}
            control = b'{"coefficient": 1, "max_paths": 1}'
            served.accept({"text_input": b"verdict:", "control": control, **options}, {}, channel)
            assert channel.done.wait(20)
        (plain,), (law,) = answers[b""].responses, answers[b"law"].responses
        assert plain["reasoning_output"] != law["reasoning_output"]
        told = [json.loads(answer["usage"]) for answer in (plain, law)]
        assert [(usage["prompt_tokens"], usage["coefficient"]) for usage in told] == [(8, 1.0), (1, 0.5)]
        unknown = RecordingChannel()
        served.accept({"text_input": b"x", "adapter": b"tax"}, {}, unknown)
        assert unknown.error == (
            "INVALID_ARG",
            "adapter: no adapter 'tax' was added to this model; there is law",
        )
    finally:
        served.close()


def test_a_missing_file_is_told_with_the_adapters_name(refusal, tmp_path):
    assert refusal(tmp_path).startswith(f"adapter law: {tmp_path} holds no adapter_model.safetensors")


def test_pickled_weights_are_told_with_the_adapters_name(refusal, tmp_path):
    (tmp_path / "adapter_model.bin").write_bytes(b"")
    assert refusal(tmp_path).startswith(f"adapter law: {tmp_path} holds pickled weights only")


def test_a_foreign_file_is_told_with_the_adapters_name(refusal, tiny_lora, tmp_path):
    shutil.copytree(tiny_lora, tmp_path, dirs_exist_ok=True)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"not safetensors")
    assert refusal(tmp_path).startswith(f"adapter law: {tmp_path} can't be read: ")


def test_another_models_adapter_is_told_with_its_name_and_whose_it_is(refusal, tiny_model, tmp_path):
    config = AutoModelForCausalLM.from_pretrained(tiny_model).config
    config.hidden_size = 64
    torch.manual_seed(0)
    other = AutoModelForCausalLM.from_config(config)
    get_peft_model(other, LoraConfig(target_modules=["q_proj"])).save_pretrained(tmp_path)
    saved = tmp_path / "adapter_config.json"
    saved.write_text(json.dumps(json.loads(saved.read_text()) | {"base_model_name_or_path": "org/other"}))
    told = refusal(tmp_path)
    assert told.startswith(f"adapter law: {tmp_path} does not fit this model: ")
    assert told.endswith("; it was trained for org/other")
    assert "size mismatch" in told
