"""ControllableInference: loading, refusing, answering."""

import json
from pathlib import Path

import pytest
import torch
from controllable_inference import ControllableInference, RequestBudget, SamplingParams
from controllable_inference.core.baselines import SingleSample
from controllable_inference.core.budget import BudgetPredictor
from controllable_inference.core.config import BudgetConfig, CalibrationConfig, ControlConfig, GateConfig
from controllable_inference.core.features import feature_dim
from controllable_inference.core.gate import PathGate
from controllable_inference.engines.limits import EngineLimits
from controllable_inference.errors import (
    ControlConfigError,
    ControllerError,
    ModelLoadError,
    ModelNotFound,
    RequestError,
)
from tiny_engines import make_model, make_tokenizer, save_checkpoint

SMALL = EngineLimits(kv_blocks=200)
HIDDEN = 32


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("plain"), make_model("qwen3"), make_tokenizer())


@pytest.fixture
def controlled(tmp_path) -> Path:
    """A checkpoint with a random gate and budget predictor beside it."""
    save_checkpoint(tmp_path, make_model(), make_tokenizer())
    torch.manual_seed(1)
    PathGate(feature_dim(HIDDEN)).save(tmp_path / "gate.safetensors")
    BudgetPredictor(HIDDEN, 8).save(tmp_path / "budget.safetensors")
    calibration = CalibrationConfig(x=[0.0, 1.0], y=[0.05, 0.95])
    ControlConfig(
        fast_prefix="",
        gate=GateConfig(hidden_dim=feature_dim(HIDDEN), min_steps=1, calibration=calibration),
        budget=BudgetConfig(input_dim=HIDDEN, hidden_dim=8, base_paths=6, base_tokens=40),
    ).save(tmp_path)
    return tmp_path


def test_a_folder_loads_and_answers_text_and_messages(plain):
    with ControllableInference.from_pretrained(plain, limits=SMALL) as model:
        text = model.generate("1+2=", seed=1, budget=RequestBudget(paths=3))
        chat = model.generate([{"role": "user", "content": "1+2="}], seed=1, budget=RequestBudget(paths=3))
        assert len(text.paths) == 3
        assert [p.text for p in text.paths] == [p.text for p in chat.paths]
        assert model.render([{"role": "user", "content": "1+2="}], thinking=False) == "1+2=</think>"


def test_a_precision_or_device_that_there_is_not_is_named(plain):
    with pytest.raises(ModelLoadError, match=r"precision must be one of auto, float32, .* got 'fp16'"):
        ControllableInference.from_pretrained(plain, precision="fp16")
    for device in ("nonsense", "cuda:99"):
        with pytest.raises(ModelLoadError, match=f"device '{device}' can't be used: "):
            ControllableInference.from_pretrained(plain, device=device)


def test_an_error_that_a_controller_raises_reaches_who_asked_with_its_name(plain):
    class Broken(SingleSample):
        def answer(self, request):
            raise KeyError("x")

    with (
        ControllableInference.from_pretrained(plain, limits=SMALL) as model,
        pytest.raises(ControllerError, match=r"^Broken raised KeyError: 'x'$"),
    ):
        model.generate("1+2=", controller=Broken(20))


def test_the_same_seed_gives_the_same_result_twice(plain):
    with ControllableInference.from_pretrained(plain, limits=SMALL) as model:
        sampling = SamplingParams(max_tokens=40)
        first, second = (model.generate("1+2=", sampling, seed=5) for _ in range(2))
        assert first.paths == second.paths


def test_streamed_events_end_with_done_and_closing_the_stream_cancels(plain):
    with ControllableInference.from_pretrained(plain, limits=SMALL) as model:
        events = list(model.stream("1+2=", SamplingParams(max_tokens=20), seed=1))
        assert events[-1].type == "done"
        stream = model.stream("1+2=", seed=1)
        next(stream)
        stream.close()
        model.engine.shutdown(drain_timeout=5)
        assert model.engine.stats().totals["controllable_requests_total", "cancelled"] == 1


def test_gate_and_budget_beside_the_weights_are_used(controlled):
    seen: list[tuple[str, float]] = []

    class Observer:
        def on_metric(self, name, value, labels):
            seen.append((name, value))

    with ControllableInference.from_pretrained(controlled, limits=SMALL, observer=Observer()) as model:
        result = model.generate("1+2=", seed=3)
        scores = [value for name, value in seen if name == "controllable_gate_score"]
        assert scores
        assert all(0.05 <= s <= 0.95 for s in scores)
        ids = torch.tensor([model.tokenizer.encode("1+2=")])
        plain = make_model()
        hidden = plain(ids, output_hidden_states=True).hidden_states[-1]
        expected = BudgetPredictor.load(controlled / "budget.safetensors", HIDDEN, 8)(hidden).item()
        assert result.usage.coefficient == pytest.approx(expected, abs=1e-4)
        assert result.usage.paths_started == max(1, round(6 * expected))
        assert result.usage.limited_by == "model"


def test_the_operators_settings_bind(controlled):
    control = {
        "pathPruning": {"enabled": False, "maxPaths": 2, "threshold": "0.3"},
        "computeBudget": {"enabled": False, "minCoefficient": "0", "maxCoefficient": "2", "maxTokens": 16},
        "trace": "summary",
    }
    with ControllableInference.from_pretrained(controlled, control=control, limits=SMALL) as model:
        result = model.generate("1+2=", seed=3)
        assert (result.usage.paths_started, result.usage.paths_pruned, result.usage.coefficient) == (
            2,
            0,
            1.0,
        )
        assert max(p.tokens for p in result.paths) <= 16


def test_a_policy_that_is_turned_off_is_not_even_read(controlled):
    written = json.loads((controlled / "control.json").read_text())
    foreign = {"hidden_dim": 8, "state": ["of a later version"], "actions": ["stop"], "start_paths": 3}
    (controlled / "control.json").write_text(json.dumps(written | {"policy": foreign | {"at_once": 6}}))
    with pytest.raises(ControlConfigError, match="of a later version"):
        ControllableInference.from_pretrained(controlled, limits=SMALL)
    off = {"policy": {"enabled": False}}
    with ControllableInference.from_pretrained(controlled, control=off, limits=SMALL) as model:
        assert model.generate("1+2=", seed=1).paths


def test_effort_none_skips_the_thinking(controlled):
    with ControllableInference.from_pretrained(controlled, limits=SMALL) as model:
        fast = model.generate(
            [{"role": "user", "content": "1="}], budget=RequestBudget(effort="none"), seed=1
        )
        assert fast.usage.reasoning_tokens == 0
        assert fast.usage.limited_by == "effort"
        assert fast.content == fast.text.strip()


def test_a_baseline_takes_the_controllers_place_for_one_request(controlled):
    with ControllableInference.from_pretrained(controlled, limits=SMALL) as model:
        assert model.generate("1+2=", seed=3, controller=SingleSample(20)).usage.paths_started == 1


def test_a_controller_of_another_model_is_refused(controlled):
    config = json.loads((controlled / "control.json").read_text())
    config["gate"]["hidden_dim"] = 99
    (controlled / "control.json").write_text(json.dumps(config))
    with pytest.raises(ControlConfigError, match=r"gate\.hidden_dim is 99, .* length 81 \(hidden size 32\)"):
        ControllableInference.from_pretrained(controlled)
    config["gate"] = None
    config["budget"]["input_dim"] = 64
    (controlled / "control.json").write_text(json.dumps(config))
    with pytest.raises(ControlConfigError, match=r"budget\.input_dim is 64"):
        ControllableInference.from_pretrained(controlled)


def test_what_is_not_there_is_not_found(tmp_path):
    with pytest.raises(ModelNotFound, match="neither a folder nor a repository id"):
        ControllableInference.from_pretrained(tmp_path / "nowhere" / "at" / "all")


def test_pickled_weights_are_refused_with_the_reason(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelLoadError, match="no safetensors"):
        ControllableInference.from_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelLoadError, match=r"pickled weights only \(pytorch_model\.bin\)"):
        ControllableInference.from_pretrained(tmp_path)


def test_a_folder_that_is_no_checkpoint_says_so(tmp_path):
    with pytest.raises(ModelLoadError, match=r"no config\.json"):
        ControllableInference.from_pretrained(tmp_path)


def test_lost_weights_are_named(plain, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(plain, tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelLoadError, match=r"layers\.1\.mlp\.up_proj"):
        ControllableInference.from_pretrained(tmp_path)


def test_code_from_a_checkpoint_is_never_run(plain, tmp_path):
    import shutil

    shutil.copytree(plain, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ModelLoadError):
        ControllableInference.from_pretrained(tmp_path)


def test_layers_without_keys_and_values_are_refused(plain, tmp_path):
    import shutil

    shutil.copytree(plain, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["layer_types"] = ["linear_attention", "full_attention"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelLoadError, match="linear_attention"):
        ControllableInference.from_pretrained(tmp_path)


def test_messages_that_are_none_are_refused(plain):
    with ControllableInference.from_pretrained(plain, limits=SMALL) as model, pytest.raises(RequestError):
        model.generate([])
