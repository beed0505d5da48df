"""One real server for all Triton tests: a tiny random Llama behind tritonserver and frontend, by `serve`."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # for serving_fakes.py, beside the tests


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
def faulty_repository(tmp_path_factory):
    """The shipped model repository, its model.py wrapped so that a prompt can kill the engine."""
    shipped = HERE.parents[1] / "model_repository" / "controllable"
    folder = tmp_path_factory.mktemp("repository") / "controllable"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text((shipped / "config.pbtxt").read_text())
    (folder / "1" / "model.py").write_text((HERE / "faulty_model.py").read_text())
    return folder.parent


@dataclass
class Running:
    """A server that `serve` started."""

    url: str
    process: subprocess.Popen
    log: Path

    def stub(self):
        """Triton's model process."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return next(child for child in children if child.name().startswith("triton_python"))

    def metric(self, name):
        """The value of one series on /metrics, 0 where it isn't there yet."""
        for line in httpx.get(f"{self.url}/metrics").text.splitlines():
            if line.startswith(name + " "):
                return float(line.split()[-1])
        return 0.0

    def wait(self, what, status, seconds):
        """Wait until /health/`what` answers `status`; returns how long it took."""
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            try:
                if httpx.get(f"{self.url}/health/{what}", timeout=8).status_code == status:
                    return time.monotonic() - started
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise AssertionError(
            f"/health/{what} is not {status} after {seconds} s; log:\n{self.log.read_text()}"
        )


def start_server(folder, model, repository, **environ):
    """Start `controllable-inference serve` on a manifest for `model`; returns at once."""
    from controllable_inference.serving.local import free_ports

    (folder / "manifest.yaml").write_text(
        yaml.safe_dump(
            {
                "apiVersion": "serving.controllable.dev/v1alpha1",
                "kind": "ControllableModel",
                "metadata": {"name": "tiny"},
                "spec": {
                    "model": {"uri": str(model)},
                    "control": {"computeBudget": {"maxTokens": 100000}},
                    "serving": {"maxConcurrentRequests": 4, "queue": {"size": 2}, "drainTimeout": "3s"},
                },
            }
        )
    )
    (port,) = free_ports(1)
    log = folder / "serve.log"
    command = [sys.executable, "-m", "controllable_inference.cli", "serve", str(folder / "manifest.yaml")]
    process = subprocess.Popen(
        [*command, "--port", str(port)],
        env=os.environ
        | {"CONTROLLABLE_MODEL_REPOSITORY": str(repository), "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
        | environ,
        stdout=log.open("w"),
        stderr=subprocess.STDOUT,
    )
    return Running(f"http://127.0.0.1:{port}", process, log)


@pytest.fixture(scope="session")
def server(tiny_model, faulty_repository, tmp_path_factory):
    running = start_server(
        tmp_path_factory.mktemp("serve"), tiny_model, faulty_repository, CONTROLLABLE_SILENCE_SECONDS="4"
    )
    try:
        running.wait("ready", 200, 60)
        yield running
    finally:
        running.process.terminate()
        assert running.process.wait(30) == 0
