"""Images made without a daemon."""

import io
import json
import os
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dev.cluster.errors import ClusterError
from dev.cluster.images import base
from dev.cluster.images.exported import ExportedImage
from dev.cluster.images.oci import CONFIG, LAYER, MANIFEST, File, descriptor, digest, image_archive
from dev.cluster.images.project import content_hash, input_files

REFERENCE = "localhost/tiny:1"


def contents(archive):
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}


def tiny():
    return image_archive(
        REFERENCE, {"bin/tool": File(b"#!", 0o755)}, ["/bin/tool"], {"tmp": 0o1777}, {"bin/alias": "tool"}
    )


def test_every_digest_in_an_archive_leads_to_the_blob_it_names():
    files = contents(tiny())
    manifest_descriptor = json.loads(files["index.json"])["manifests"][0]
    manifest = json.loads(files[f"blobs/{manifest_descriptor['digest'].replace(':', '/')}"])
    for described in (manifest_descriptor, manifest["config"], *manifest["layers"]):
        blob = files[f"blobs/{described['digest'].replace(':', '/')}"]
        assert (digest(blob), len(blob)) == (described["digest"], described["size"])


def test_the_index_carries_the_name_that_containerd_takes():
    manifest = json.loads(contents(tiny())["index.json"])["manifests"][0]
    assert manifest["annotations"] == {"io.containerd.image.name": REFERENCE}


def test_the_configuration_names_the_uncompressed_layer():
    files = contents(tiny())
    manifest = next(
        json.loads(f) for n, f in files.items() if n.startswith("blobs") and MANIFEST.encode() in f
    )
    config = json.loads(files[f"blobs/{manifest['config']['digest'].replace(':', '/')}"])
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    assert config["config"]["Entrypoint"] == ["/bin/tool"]


def test_a_layer_keeps_modes_and_links():
    files = contents(tiny())
    manifest = next(
        json.loads(f) for n, f in files.items() if n.startswith("blobs") and MANIFEST.encode() in f
    )
    layer = files[f"blobs/{manifest['layers'][0]['digest'].replace(':', '/')}"]
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        assert tar.getmember("bin/tool").mode == 0o755
        assert tar.getmember("tmp").mode == 0o1777
        assert tar.getmember("bin/alias").linkname == "tool"


def test_the_same_files_give_the_same_bytes():
    assert tiny() == tiny()


@pytest.fixture
def exported(tmp_path):
    """An image as buildah exports it."""

    def store(content, media_type):
        described = descriptor(content, media_type)
        (tmp_path / described["digest"].removeprefix("sha256:")).write_bytes(content)
        return described

    manifest = {
        "config": store(b"config", CONFIG),
        "layers": [store(b"dependencies", LAYER), store(b"the code", LAYER)],
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return ExportedImage(tmp_path)


def written(image, present):
    buffer = io.BytesIO()
    image.write_archive(REFERENCE, present, buffer)
    return contents(buffer.getvalue())


def test_an_archive_of_an_exported_image_holds_all_its_blobs(exported):
    files = written(exported, set())
    described = json.loads(files["index.json"])["manifests"][0]
    assert described["annotations"] == {"io.containerd.image.name": REFERENCE}
    assert (
        files[f"blobs/{described['digest'].replace(':', '/')}"]
        == (exported.folder / "manifest.json").read_bytes()
    )
    assert {b"config", b"dependencies", b"the code"} <= set(files.values())


def test_layers_that_the_node_has_are_left_out(exported):
    blobs = written(exported, {digest(b"dependencies")}).values()
    assert b"dependencies" not in blobs
    assert b"the code" in blobs


def test_an_export_that_was_not_finished_does_not_exist(tmp_path):
    assert not ExportedImage(tmp_path).exists


class TestContentHash:
    @pytest.fixture
    def tree(self, tmp_path):
        (tmp_path / "code").mkdir()
        (tmp_path / "code" / "a.py").write_text("a")
        (tmp_path / "other.txt").write_text("x")
        return tmp_path

    def hash_of(self, tree):
        return content_hash(input_files(["code"], tree), tree)

    def test_what_goes_into_an_image_changes_it(self, tree):
        before = self.hash_of(tree)
        (tree / "code" / "a.py").write_text("b")
        assert self.hash_of(tree) != before

    def test_so_do_a_new_file_and_the_permission_to_execute(self, tree):
        hashes = [self.hash_of(tree)]
        (tree / "code" / "b.py").touch()
        hashes.append(self.hash_of(tree))
        (tree / "code" / "b.py").chmod(0o755)
        hashes.append(self.hash_of(tree))
        assert len(set(hashes)) == 3

    def test_times_caches_and_other_files_do_not(self, tree):
        before = self.hash_of(tree)
        os.utime(tree / "code" / "a.py", (1, 1))
        (tree / "code" / "__pycache__").mkdir()
        (tree / "code" / "__pycache__" / "a.pyc").touch()
        (tree / "other.txt").write_text("y")
        assert self.hash_of(tree) == before

    def test_an_input_that_is_missing_is_named(self, tree):
        with pytest.raises(ClusterError, match="nowhere"):
            list(input_files(["nowhere"], tree))


def test_clusters_that_start_together_make_what_both_hold_once(tmp_path, monkeypatch):
    monkeypatch.setattr(base, "cache_dir", lambda: tmp_path)
    makings: list[str] = []

    def make() -> bytes:
        makings.append("made")
        time.sleep(0.2)
        return b"an image"

    with ThreadPoolExecutor(2) as pool:
        files = [pool.submit(base._cached, "busybox", Path(__file__), make) for _ in range(2)]
        assert [file.result().read_bytes() for file in files] == [b"an image"] * 2
    assert makings == ["made"]
