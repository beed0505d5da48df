"""Fetching: links for what is here, downloads for the hub; whole or not at all; never pickled weights."""

import hashlib
import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from controllable_inference.errors import ModelFetchFailed, ModelLoadError, ModelNotFound
from controllable_inference.fetch import ADAPTER, download, http
from controllable_inference.fetch import fetch as fetch_model
from controllable_inference.fetch.digest import combined

COMMIT = "a" * 40
FILES = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "model.safetensors": b"weights",
    "README.md": b"hello",
}


def quiet(_message):
    pass


def fetch(uri, to, *arguments, **options):
    """The folder, for tests of what is in it."""
    fetch_model(uri, to, *arguments, **options)
    return to


def digest_of(files):
    return combined({name: hashlib.sha256(content).hexdigest() for name, content in files.items()})


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(download, "PAUSES", (0.01, 0.01))


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "source" / "nano"
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


def test_an_image_path_becomes_a_link_and_doing_it_again_changes_nothing(checkpoint, tmp_path):
    to = tmp_path / "weights" / "model"
    for _ in range(2):
        assert fetch(f"image://{checkpoint}", to, progress=quiet) == to
        assert to.is_symlink()
        assert (to / "model.safetensors").read_bytes() == b"weights"


def test_an_image_path_that_this_machine_lacks_is_the_shipped_folder(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "controllable_inference.fetch.local.resource",
        lambda name: checkpoint if name == "models/nano" else None,
    )
    assert fetch("image:///models/nano", tmp_path / "model", progress=quiet).readlink() == checkpoint


def test_a_claim_is_looked_for_under_the_folder_where_it_is_mounted(checkpoint, tmp_path):
    environ = {"CONTROLLABLE_SOURCES_ROOT": str(tmp_path / "source")}
    assert (
        fetch("pvc://claim/nano", tmp_path / "model", environ=environ, progress=quiet).readlink()
        == checkpoint
    )


def test_a_plain_folder_is_a_model_too(checkpoint, tmp_path):
    assert fetch(str(checkpoint), tmp_path / "model", progress=quiet).readlink() == checkpoint


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("image:///nowhere", "there is no folder"),
        ("image://models/nano", "three slashes"),
        ("image:///models/../etc", "not allowed"),
        ("pvc://claim/nano", "CONTROLLABLE_SOURCES_ROOT is not set"),
        ("oci://host/nano:1", "CONTROLLABLE_SOURCES_ROOT is not set"),
        ("ftp://host/nano", "unknown scheme"),
    ],
)
def test_a_uri_that_leads_nowhere_says_why(uri, words, tmp_path):
    with pytest.raises(ModelNotFound, match=words):
        fetch(uri, tmp_path / "model", environ={}, progress=quiet)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("missing", "added", "words"),
    [
        ("model.safetensors", "pytorch_model.bin", r"pickled weights \(pytorch_model.bin\).*runs code"),
        ("model.safetensors", None, r"holds no \*\.safetensors"),
        ("config.json", None, "holds no config.json"),
        ("tokenizer.json", None, "holds no tokenizer"),
    ],
)
def test_a_folder_that_is_no_safe_model_is_refused_with_the_reason(
    checkpoint, tmp_path, missing, added, words
):
    (checkpoint / missing).unlink()
    if added:
        (checkpoint / added).write_bytes(b"")
    with pytest.raises(ModelNotFound, match=words):
        fetch(str(checkpoint), tmp_path / "model", progress=quiet)


@pytest.mark.parametrize("folder", ["", "models"])
def test_an_images_model_is_at_its_root_or_where_kserve_has_it(checkpoint, tmp_path, folder):
    image = tmp_path / "image"
    image.mkdir()
    checkpoint.rename(image / folder) if folder else checkpoint.rename(image.rmdir() or image)
    environ = {"CONTROLLABLE_SOURCES_ROOT": str(image)}
    to = fetch("oci://host/nano:1", tmp_path / "model", environ=environ, progress=quiet)
    assert to.readlink() == image / folder


def test_a_node_that_mounts_no_image_is_told_what_it_lacks(tmp_path):
    with pytest.raises(ModelNotFound, match=r"feature gate ImageVolume.*containerd"):
        fetch("oci://host/nano:1", tmp_path / "model", environ={"CONTROLLABLE_SOURCES_ROOT": str(tmp_path)})


def test_a_link_may_stay_in_its_claim_and_not_lead_out_of_it(checkpoint, tmp_path):
    claim, blob = checkpoint.parent, checkpoint.parent / "blobs" / "1"
    blob.parent.mkdir()
    (checkpoint / "model.safetensors").rename(blob)
    (checkpoint / "model.safetensors").symlink_to("../blobs/1")
    environ = {"CONTROLLABLE_SOURCES_ROOT": str(claim)}
    fetch("pvc://claim/nano", tmp_path / "model", environ=environ, progress=quiet)
    (checkpoint / "generation_config.json").symlink_to("/etc/passwd")
    with pytest.raises(ModelNotFound, match=r"generation_config.json is a link that leads out of it"):
        fetch("pvc://claim/nano", tmp_path / "other", environ=environ, progress=quiet)


def test_a_claim_is_read_for_its_digest_where_one_is_asked_for(checkpoint, tmp_path):
    right = digest_of({name: content for name, content in FILES.items() if name != "README.md"})
    found = fetch_model(str(checkpoint), tmp_path / "model", digest=right, progress=quiet)
    assert (found.digest, found.size) == (right, 11)
    with pytest.raises(ModelNotFound, match=f"its digest is {right}"):
        fetch(str(checkpoint), tmp_path / "other", digest="sha256:" + "0" * 64, progress=quiet)
    assert not (tmp_path / "other").exists()


def test_the_digest_is_what_sha256sum_says(checkpoint, tmp_path):
    (checkpoint / "README.md").unlink()
    (checkpoint / "deep").mkdir()
    (checkpoint / "deep" / "x.json").write_text("1")
    script = "find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum"
    shell = subprocess.run(["sh", "-c", script], cwd=checkpoint, capture_output=True, text=True, check=True)
    digest = "sha256:" + shell.stdout.split()[0]
    assert fetch_model(str(checkpoint), tmp_path / "model", digest=digest, progress=quiet).digest == digest


@pytest.mark.parametrize("name", ["model.bin", "model.pt", "model.pth", "model.ckpt", "model.pkl"])
def test_fetching_and_loading_agree_on_what_is_pickled(checkpoint, tmp_path, name):
    from controllable_inference.engines.native.checkpoint import load

    (checkpoint / "model.safetensors").rename(checkpoint / name)
    with pytest.raises(ModelNotFound, match=rf"only pickled weights \({name}\)"):
        fetch(str(checkpoint), tmp_path / "model", progress=quiet)
    with pytest.raises(ModelLoadError, match=rf"pickled weights only \({name}\)"):
        load(checkpoint)


def test_a_folder_that_is_in_the_way_is_not_touched(checkpoint, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "precious").write_text("x")
    with pytest.raises(ModelNotFound, match="remove it"):
        fetch(str(checkpoint), tmp_path / "model", progress=quiet)
    assert (tmp_path / "model" / "precious").exists()


LORA = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"weights", "README.md": b"hello"}


@pytest.fixture
def lora(tmp_path):
    folder = tmp_path / "source" / "lora"
    folder.mkdir(parents=True)
    for name, content in LORA.items():
        (folder / name).write_bytes(content)
    return folder


def test_an_adapter_needs_what_peft_saves_and_no_tokenizer(lora, tmp_path):
    environ = {"CONTROLLABLE_SOURCES_ROOT": str(lora.parent)}
    for uri, to in ((str(lora), "one"), ("pvc://claim/lora", "two")):
        assert fetch(uri, tmp_path / to, kind=ADAPTER, environ=environ, progress=quiet).readlink() == lora


@pytest.mark.parametrize(
    ("missing", "added", "words"),
    [
        ("adapter_model.safetensors", "adapter_model.bin", r"pickled weights \(adapter_model.bin\)"),
        ("adapter_model.safetensors", "model.safetensors", r"holds no adapter_model\.safetensors"),
        (
            "adapter_config.json",
            "config.json",
            r"holds no adapter_config\.json, so this is not a LoRA",
        ),
    ],
)
def test_a_folder_that_is_no_adapter_is_refused_with_the_reason(lora, tmp_path, missing, added, words):
    (lora / missing).unlink()
    (lora / added).write_bytes(b"")
    with pytest.raises(ModelNotFound, match=words):
        fetch(str(lora), tmp_path / "adapter", kind=ADAPTER, progress=quiet)


def test_a_model_is_no_adapter_and_an_adapter_no_model(checkpoint, lora, tmp_path):
    with pytest.raises(ModelNotFound, match=r"holds no adapter_model\.safetensors"):
        fetch(str(checkpoint), tmp_path / "adapter", kind=ADAPTER, progress=quiet)
    with pytest.raises(ModelNotFound, match=r"holds no config\.json"):
        fetch(str(lora), tmp_path / "model", progress=quiet)


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as its client needs for one repository."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        self.server.asked.append(self.path)
        hub = self.server
        if self.path.startswith("/api/models/org/gated"):
            return self.reply(403, b"", {"X-Error-Code": "GatedRepo"}, body)
        if self.path.startswith("/api/models/org/nano/revision/other"):
            return self.reply(404, b"", {"X-Error-Code": "RevisionNotFound"}, body)
        if self.path.startswith("/api/models/org/nano/tree"):
            tree = [
                {"type": "file", "path": n, "size": len(c), "oid": "0" * 40} for n, c in hub.files.items()
            ]
            return self.reply(200, json.dumps(tree).encode(), {}, body)
        if self.path.startswith("/api/models/org/nano"):
            siblings = [self.sibling(name, content) for name, content in hub.files.items()]
            info = {"id": "org/nano", "modelId": "org/nano", "sha": COMMIT, "siblings": siblings}
            return self.reply(200, json.dumps(info).encode(), {}, body)
        name = self.path.rpartition("/")[2]
        if f"/org/nano/resolve/{COMMIT}/" in self.path and name in hub.files:
            if name == hub.broken and body:
                return self.reply(500, b"", {}, body)
            content = hub.files[name]
            etag = hashlib.sha1(content).hexdigest()
            headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}
            if asked := self.headers.get("Range"):
                start = int(asked.removeprefix("bytes=").rstrip("-"))
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                return self.reply(206, content[start:], headers, body)
            return self.reply(200, content, headers, body)
        return self.reply(404, b"", {"X-Error-Code": "RepoNotFound"}, body)

    def sibling(self, name, content):
        found = {"rfilename": name, "size": len(content)}
        if name.endswith(".safetensors"):
            sha256 = self.server.lies.get(name) or hashlib.sha256(content).hexdigest()
            found["lfs"] = {"size": len(content), "sha256": sha256, "pointerSize": 100}
        return found

    def reply(self, status, content, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    """A hub on loopback, and the client told to use it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.files, server.broken, server.asked, server.lies = dict(FILES), None, [], {}
        server.daemon_threads = True
        url = f"http://127.0.0.1:{server.server_port}"
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_repository_is_downloaded_without_what_is_not_needed(hub, tmp_path):
    to = fetch("hf://org/nano", tmp_path / "model", progress=quiet)
    assert sorted(path.name for path in to.iterdir() if not path.name.startswith(".")) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert (to / "model.safetensors").read_bytes() == b"weights"
    assert not list(tmp_path.glob(".model.partial"))


def test_fetching_and_loading_download_the_same_tokenizers(hub, tmp_path, monkeypatch):
    from controllable_inference.engines.native.checkpoint import find

    tokenizers = dict.fromkeys(["spiece.model", "vocab.txt", "merges.txt", "qwen.tiktoken"], b"words")
    hub.files |= tokenizers
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    for folder in (fetch("hf://org/nano", tmp_path / "model", progress=quiet), find("org/nano")):
        assert tokenizers.keys() <= {path.name for path in folder.iterdir()}


def test_an_adapter_is_downloaded_like_a_model(hub, tmp_path):
    hub.files = dict(LORA)
    to = fetch("hf://org/nano", tmp_path / "adapter", kind=ADAPTER, progress=quiet)
    assert {path.name for path in to.glob("[!.]*")} == LORA.keys() - {"README.md"}
    with pytest.raises(ModelNotFound, match=r"holds no config\.json"):
        fetch("hf://org/nano", tmp_path / "model", progress=quiet)


def test_a_download_that_is_here_already_is_taken_without_asking(hub, tmp_path):
    first = fetch_model("hf://org/nano", tmp_path / "model", progress=quiet)
    hub.asked.clear()
    assert fetch_model("hf://org/nano", tmp_path / "model", progress=quiet) == first
    assert hub.asked == []


def test_the_digest_of_a_download_pins_it(hub, tmp_path):
    digest = fetch_model("hf://org/nano", tmp_path / "model", progress=quiet).digest
    assert digest == digest_of({name: content for name, content in FILES.items() if name != "README.md"})
    assert fetch_model("hf://org/nano", tmp_path / "pinned", digest=digest, progress=quiet).digest == digest
    hub.files["config.json"] = b'{"other": 1}'
    with pytest.raises(ModelNotFound, match=f"{digest} was asked for"):
        fetch("hf://org/nano", tmp_path / "changed", digest=digest, progress=quiet)
    assert not (tmp_path / "changed").exists()


def test_weights_that_arrive_damaged_are_not_kept(hub, tmp_path):
    hub.lies["model.safetensors"] = "0" * 64
    with pytest.raises(ModelFetchFailed, match=r"model.safetensors arrived damaged"):
        fetch("hf://org/nano", tmp_path / "model", progress=quiet)
    hub.lies.clear()
    assert fetch("hf://org/nano", tmp_path / "model", progress=quiet).is_dir()


def test_an_interrupted_download_leaves_no_model_and_goes_on_where_it_stopped(hub, tmp_path):
    hub.broken = "model.safetensors"
    with pytest.raises(ModelFetchFailed, match=r"the server answers 500.*tried 3 times"):
        fetch("hf://org/nano", tmp_path / "model", progress=quiet)
    assert not (tmp_path / "model").exists()
    hub.broken = None
    hub.asked.clear()
    fetch("hf://org/nano", tmp_path / "model", progress=quiet)
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == b"weights"
    assert [path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path] == ["model.safetensors"]


@pytest.mark.parametrize("name", ["../escape.json", "/etc/x.json", "a/../../x.json"])
def test_a_repository_whose_file_would_leave_its_folder_is_refused(hub, tmp_path, name):
    hub.files[name] = b"{}"
    with pytest.raises(ModelNotFound, match="would lead out of the model's folder"):
        fetch("hf://org/nano", tmp_path / "model", progress=quiet)


def test_a_repository_of_pickled_weights_is_refused_before_anything_is_downloaded(hub, tmp_path):
    hub.files = {"config.json": b"{}", "tokenizer.json": b"{}", "pytorch_model.bin": b"pickle"}
    with pytest.raises(ModelNotFound, match="pickled weights"):
        fetch("hf://org/nano", tmp_path / "model", progress=quiet)
    assert not [path for path in hub.asked if "/resolve/" in path]


@pytest.mark.parametrize(
    ("uri", "revision", "words"),
    [
        ("hf://org/gated", None, "gated.*token"),
        ("hf://org/nano", "other", "no such revision"),
        ("hf://org/nothing", None, "no such repository"),
    ],
)
def test_what_the_hub_refuses_is_told_with_what_to_do(hub, tmp_path, uri, revision, words):
    with pytest.raises(ModelNotFound, match=words):
        fetch(uri, tmp_path / "model", revision, progress=quiet)


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        (
            "http://nowhere.invalid",
            r"the name nowhere\.invalid can't be resolved; check the URI",
        ),
        ("http://127.0.0.1:9", r"no connection to 127\.0\.0\.1: it refuses; check the uri"),
        ("https", r"127\.0\.0\.1: no trusted TLS connection \(.+\); trust who signed it \(SSL_CERT_FILE\)"),
    ],
)
def test_why_the_hub_is_not_reached_is_told_in_words(hub, tmp_path, monkeypatch, endpoint, words):
    if endpoint == "https":  # spoken to a server that has no TLS
        endpoint = f"https://127.0.0.1:{hub.server_port}"
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("controllable_inference.fetch.download.PAUSES", (0.0,))
    with pytest.raises(ModelFetchFailed, match=f"^hf://org/nano: {words}.*; tried 2 times"):
        fetch("hf://org/nano", tmp_path / "model", progress=quiet)


def test_a_proxy_is_told_without_its_password(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://somebody:secret@proxy.example:3128")
    why = http.why(ConnectionRefusedError(111, "refused"), "https://hub.example/model")
    assert why.startswith("no connection to hub.example by the proxy http://proxy.example:3128: it refuses")


@pytest.mark.parametrize(
    ("variable", "value"), [("HTTPS_PROXY", "socks5://127.0.0.1:9"), ("SSL_CERT_FILE", "/nowhere.pem")]
)
def test_an_environment_that_no_client_can_be_made_of_is_named(tmp_path, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ModelFetchFailed, match=f"no client can be made of this environment: .*{variable}"):
        fetch("hf://org/nano", tmp_path / "model", progress=quiet)


def test_a_hub_that_is_switched_off_is_not_tried_again(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelFetchFailed, match="HF_HUB_OFFLINE is set; unset it"):
        fetch("hf://org/nano", tmp_path / "model", progress=quiet)


def test_a_failure_is_left_in_the_termination_log_for_the_operator(tmp_path, monkeypatch):
    log = tmp_path / "log"
    log.write_text("")
    monkeypatch.setenv("CONTROLLABLE_TERMINATION_LOG", str(log))
    from controllable_inference import cli
    from typer.testing import CliRunner

    done = CliRunner().invoke(cli.app, ["fetch", "image:///nowhere", "--to", str(tmp_path / "model")])
    assert isinstance(done.exception, ModelNotFound)
    assert json.loads(log.read_text())["reason"] == "ModelNotFound"
    assert "there is no folder /nowhere" in json.loads(log.read_text())["message"]


def test_what_was_fetched_is_left_there_too(hub, tmp_path, monkeypatch):
    from controllable_inference import cli
    from typer.testing import CliRunner

    log = tmp_path / "log"
    log.write_text("")
    monkeypatch.setenv("CONTROLLABLE_TERMINATION_LOG", str(log))
    done = CliRunner().invoke(cli.app, ["fetch", "hf://org/nano", "--to", str(tmp_path / "model")])
    assert done.exit_code == 0
    said = json.loads(log.read_text())
    assert (said["reason"], said["message"], said["size"]) == ("Fetched", "hf://org/nano", 11)
    assert said["digest"].startswith("sha256:")
