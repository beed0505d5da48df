"""A cache that is full: what nobody serves goes, and nothing else."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from controllable_inference.fetch.eviction import GRACE, MARKER, evict, hold


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of models of 10 bytes each, on a disk of 35, and what is wanted next."""

    def usage(_):
        there = sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
        return SimpleNamespace(free=35 - there)

    monkeypatch.setattr("shutil.disk_usage", usage)
    for age, name in enumerate(("newest", "older", "oldest"), start=1):
        _model(tmp_path / name, age * 2 * GRACE)
    return tmp_path / "wanted"


def _model(folder, age):
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(10))
    (folder / MARKER).write_text("{}")
    os.utime(folder / MARKER, times=(time.time() - age,) * 2)


def names(cache):
    return {path.name for path in cache.parent.iterdir()}


def test_the_longest_unused_goes_and_no_more_than_is_needed(cache):
    assert evict(cache, 5) == []
    assert evict(cache, 15) == ["oldest"]
    assert names(cache) == {"newest", "older"}


def test_what_an_engine_holds_stays_until_its_process_ends(cache):
    # As in a pod: a process that takes the lock and becomes another program.
    code = f"import os, sys; from {hold.__module__} import hold; from pathlib import Path\n"
    code += (
        f"hold(Path({str(cache.parent / 'oldest')!r})); os.execvp('sh', ['sh', '-c', 'echo held; read x'])"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1) as engine:
        assert engine.stdout.readline() == b"held\n"
        assert evict(cache, 15) == ["older"]
        engine.stdin.close()
    assert evict(cache, 25) == ["oldest"]


def test_what_was_fetched_a_moment_ago_stays_though_its_engine_is_not_up_yet(cache):
    os.utime(cache.parent / "oldest" / MARKER)
    assert evict(cache, 100) == ["older", "newest"]
    assert names(cache) == {"oldest"}


def test_an_unfinished_download_goes_unless_somebody_is_at_it(cache):
    partial = cache.with_name(".gone.0123.partial")
    partial.mkdir()
    (partial / "model.safetensors").write_bytes(bytes(5))
    lock = cache.with_name(".gone.lock")
    lock.touch()
    os.utime(lock, times=(0, 0))
    mine = cache.with_name(".wanted.4567.partial")
    mine.mkdir()
    cache.with_name(".wanted.lock").touch()
    assert evict(cache, 5) == [partial.name]
    assert mine.is_dir()


def test_a_model_that_was_not_downloaded_needs_no_holding(tmp_path):
    hold(tmp_path)
    assert list(tmp_path.iterdir()) == []
