"""What a model needs of a GPU, by its tensors' real shapes."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from controllable_operator.api import ControllableModel
from controllable_operator.placement import Gpus, inventory
from controllable_operator.placement.ask import Ask
from controllable_operator.placement.checkpoint import KNOWN_FILE, Checkpoint, of_uri
from controllable_operator.placement.memory import memory, memory_of
from controllable_operator.placement.verdicts import fits_memory, shareable
from gpu_objects import gpu_node
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
KNOWN: list[dict[str, Any]] = json.loads(KNOWN_FILE.read_text())
MODELS = {entry["repositories"][0].partition("/")[2]: entry for entry in KNOWN}
GIB = 2**30


def checkpoint(name: str) -> Checkpoint:
    return Checkpoint.of(MODELS[name]["config"])


@pytest.mark.parametrize("name", MODELS)
def test_shapes_add_up_to_the_total_size_of_the_safetensors_index(name: str) -> None:
    assert checkpoint(name).parameters() * 2 == MODELS[name]["index_total_size"]


def test_names_and_shapes_are_those_in_the_header_of_a_real_file() -> None:
    nano = ROOT / "models/nano"
    with (nano / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    real = {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    assert dict(Checkpoint.of(json.loads((nano / "config.json").read_text())).tensors()) == real


def test_the_14b_model_has_as_many_tensors_as_its_index_lists() -> None:
    assert len(list(checkpoint("DeepSeek-R1-Distill-Qwen-14B").tensors())) == 579


def test_a_family_that_is_not_known_is_refused_by_its_name() -> None:
    with pytest.raises(ValueError, match="model_type 'gpt2'"):
        Checkpoint.of({"model_type": "gpt2"})


def test_repositories_are_known_whatever_their_case() -> None:
    assert of_uri("hf://qwen/qwen2.5-7b") == checkpoint("Qwen2.5-7B")
    assert of_uri("hf://somebody/else") is None
    assert of_uri("pvc://qwen/qwen2.5-7b") is None


def test_kv_is_two_values_of_each_head_and_layer_for_every_token() -> None:
    need = memory(checkpoint("Qwen2.5-7B"), "bfloat16", paths=16, tokens=2048)
    assert need.kv == 16 * 2048 * (2 * 28 * 4 * 128 * 2)


def test_no_path_is_longer_than_the_model_can_read() -> None:
    assert memory(checkpoint("Qwen2.5-7B"), "auto", 1, 10**6).tokens == 131072


def test_auto_is_the_precision_of_the_checkpoint() -> None:
    model = checkpoint("Qwen2.5-7B")
    assert memory(model, "auto", 1, 1) == memory(model, "bfloat16", 1, 1)
    assert memory(model, "float32", 1, 1).weights == 2 * memory(model, "auto", 1, 1).weights


@given(st.sampled_from(sorted(MODELS)), st.sampled_from([2, 4, 8, 16]))
def test_gpus_that_share_a_model_hold_less_each_and_no_less_together(name: str, shards: int) -> None:
    one, each = (memory(checkpoint(name), "auto", 16, 2048, n) for n in (1, shards))
    assert each.weights < one.weights <= each.weights * shards
    assert each.kv <= one.kv <= each.kv * shards
    assert each.total < one.total


def test_a_model_needs_room_for_its_longest_request(make_model: Callable[..., ControllableModel]) -> None:
    control = {
        "pathPruning": {"maxPaths": 4},
        "computeBudget": {"maxTokens": 1000, "maxCoefficient": "1.5"},
    }
    need = memory_of(make_model("hf://Qwen/Qwen2.5-7B", control=control, gpu={"count": 1}))
    assert need
    assert (need.paths, need.tokens) == (4, 1500)
    assert memory_of(make_model(gpu={"count": 1})) is None


def test_all_gpus_of_a_replica_share_its_model(make_model: Callable[..., ControllableModel]) -> None:
    one, two = (
        memory_of(make_model("hf://Qwen/Qwen2.5-7B", gpu=gpu))
        for gpu in ({"count": 1}, {"count": 2, "nvlink": "required"})
    )
    assert one
    assert two
    assert (one.shards, two.shards) == (1, 2)
    assert two.kv == one.kv / 2


@pytest.mark.parametrize(
    ("name", "counts"), [("Qwen2.5-7B", [1, 2, 4]), ("DeepSeek-R1-Distill-Qwen-14B", [1, 2, 4, 8])]
)
def test_gpus_that_share_a_model_have_equally_many_heads(name: str, counts: list[int]) -> None:
    assert checkpoint(name).shards() == counts
    assert [count for count in range(1, 17) if shareable(count, checkpoint(name)) is None] == counts


def test_a_number_of_gpus_that_can_not_share_a_model_is_told_which_can() -> None:
    assert shareable(8, checkpoint("Qwen2.5-7B")) == (
        False,
        "Indivisible",
        "8 GPUs can't share 28 attention heads and 4 key-value heads evenly; "
        "set spec.gpu.count to 1 or 2 or 4",
    )


def test_the_message_is_the_sum() -> None:
    told = memory(checkpoint("DeepSeek-R1-Distill-Qwen-14B"), "bfloat16", 16, 2048, shards=2).told()
    assert told == (
        "weights 13.8 (bfloat16) + KV 3.0 (16 paths of 2048 tokens) + activations 0.2 + CUDA 1.0 = 17.9 GiB "
        "on each of 2 GPUs"
    )


@pytest.mark.parametrize(
    ("product", "memory_label", "verdict"),
    [
        ("NVIDIA-A100-SXM4-40GB", "40960", (True, "Fits")),
        ("NVIDIA-L4", "23034", (True, "Fits")),
        ("Tesla-T4", "15360", (False, "TooLarge")),
        ("", "0", (None, "Unknown")),
    ],
)
def test_a_model_fits_where_a_gpu_has_the_memory(
    product: str, memory_label: str, verdict: tuple[bool | None, str]
) -> None:
    need = memory(checkpoint("Qwen2.5-7B"), "auto", 16, 2048)
    gpus = inventory([gpu_node(product=product, memory=memory_label)])
    found = fits_memory(Ask(1, need=need.total), need, gpus, "hf://Qwen/Qwen2.5-7B")
    assert found[:2] == verdict
    assert f"= {need.total / GIB:.1f} GiB" in found[2]


def test_where_no_gpu_is_to_be_seen_the_asked_memory_counts() -> None:
    need = memory(checkpoint("Qwen2.5-7B"), "auto", 16, 2048)
    assert fits_memory(Ask(1, memory=16 * GIB), need, Gpus(), "")[:2] == (False, "TooLarge")
    assert fits_memory(Ask(1, memory=24 * GIB), need, Gpus(), "")[:2] == (True, "Fits")


def test_of_an_unknown_model_nothing_is_claimed() -> None:
    found = fits_memory(Ask(1), None, Gpus(), "s3://bucket/model")
    assert found[:2] == (None, "Unknown")
    assert "s3://bucket/model" in found[2]
