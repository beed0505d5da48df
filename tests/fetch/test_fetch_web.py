"""Archives over HTTP: broken off and gone on with, verified, and unpacked with care."""

import gzip
import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import httpx
import pytest
from controllable_inference.errors import ModelFetchFailed, ModelNotFound
from controllable_inference.fetch import ADAPTER, MODEL, download, fetch, http
from controllable_inference.fetch.archive import unpack
from controllable_inference.fetch.place import Place
from controllable_inference.fetch.web import WebRemote

FILES = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": os.urandom(3_000_000)}


def quiet(_message):
    pass


def tar_of(files, mode="w:gz", extra=()):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for entry in extra:
            tar.addfile(entry)
    return buffer.getvalue()


def zip_of(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def pin(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Files(BaseHTTPRequestHandler):
    """Serves one file, with ranges; breaks off after `server.breaks` bytes of each answer, if that is set."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server, content = self.server, self.server.content
        server.asked.append((self.headers.get("Range"), self.headers.get("Authorization")))
        if server.password and self.headers.get("Authorization") != server.password:
            return self.reply(401, b"")
        if server.status != 200:
            return self.reply(server.status, b"")
        asked = self.headers.get("Range") if server.ranges else None
        if self.headers.get("If-Range") not in (None, server.etag):
            asked = None
        if asked is None:
            return self.reply(200, content, {"ETag": server.etag})
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        span = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}", "ETag": server.etag}
        return self.reply(206, content[start:], span)

    def reply(self, status, content, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        server = self.server
        try:
            for at in range(0, len(content), 100_000):
                server.may_send.wait(240)
                if server.breaks is not None and at >= server.breaks:
                    self.close_connection = True
                    server.broke_off()
                    return
                self.wfile.write(content[at : at + 100_000])
                server.sent += len(content[at : at + 100_000])
                time.sleep(server.slowness)
        except OSError:
            pass  # the client went away

    def log_message(self, *_):
        pass


@pytest.fixture
def web():
    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        server.daemon_threads = True
        server.content, server.etag, server.asked, server.sent = tar_of(FILES), '"1"', [], 0
        server.breaks, server.status, server.ranges, server.slowness = None, 200, True, 0
        server.password, server.broke_off = None, lambda: None
        server.may_send = threading.Event()
        server.may_send.set()
        server.uri = f"http://127.0.0.1:{server.server_port}/nano.tar.gz"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(download, "PAUSES", (0.01, 0.01))


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("tar", tar_of(FILES, "w")),
        ("tar.gz", tar_of(FILES)),
        ("tgz", tar_of({f"nano/{name}": content for name, content in FILES.items()})),
        ("zip", zip_of({f"./nano/{name}": content for name, content in FILES.items()})),
        ("zip", zip_of(FILES)),
    ],
    ids=["tar", "tar.gz", "tgz with a folder", "zip with a folder", "zip"],
)
def test_an_archive_of_a_model_becomes_its_folder(web, tmp_path, kind, content):
    web.content = content
    uri = web.uri.replace("tar.gz", kind)
    found = fetch(uri, tmp_path / "model", digest=pin(content), progress=quiet)
    assert found.digest == pin(content)
    for name, expected in FILES.items():
        assert (tmp_path / "model" / name).read_bytes() == expected
    assert not list((tmp_path / "model").glob("archive*"))


@pytest.mark.parametrize("top", ["", "lora/"])
def test_an_archive_of_an_adapter_becomes_its_folder(web, tmp_path, top):
    files = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"weights"}
    web.content = tar_of({f"{top}{name}": content for name, content in files.items()})
    fetch(web.uri, tmp_path / "law", digest=pin(web.content), kind=ADAPTER, progress=quiet)
    for name, expected in files.items():
        assert (tmp_path / "law" / name).read_bytes() == expected


def test_a_download_that_breaks_off_again_and_again_goes_on_each_time(web, tmp_path):
    web.breaks = 700_000
    told = []
    fetch(web.uri, tmp_path / "model", digest=pin(web.content), progress=told.append)
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked, _ in web.asked if asked]
    assert len(starts) >= 3
    assert starts == sorted(set(starts))
    assert any("broke off" in line and "again in" in line for line in told)


def test_a_server_without_ranges_is_read_from_the_start_again(web, tmp_path):
    def whole_from_now_on():
        if len(web.asked) > 1:  # the first only looks what there is
            web.breaks = None

    web.breaks, web.ranges, web.broke_off = 700_000, False, whole_from_now_on
    fetch(web.uri, tmp_path / "model", digest=pin(web.content), progress=quiet)
    assert len(web.asked) == 3
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_a_server_that_never_brings_more_is_given_up_and_says_what_to_expect(web, tmp_path):
    web.breaks = 0
    with pytest.raises(
        ModelFetchFailed, match=r"nano.tar.gz.*broke off.*tried 3 times, the next try goes on"
    ):
        fetch(web.uri, tmp_path / "model", digest=pin(web.content), progress=quiet)
    assert not (tmp_path / "model").exists()


def test_an_archive_that_changed_meanwhile_is_not_glued_together(web, tmp_path):
    new = tar_of(FILES | {"config.json": b'{"new": 1}'})

    def replaced():
        if len(web.asked) > 1:  # the first only looks what there is
            web.content, web.etag, web.breaks = new, '"2"', None

    web.breaks, web.broke_off = 700_000, replaced
    with pytest.raises(ModelFetchFailed, match="was changed while it was read; the next try reads anew"):
        fetch(web.uri, tmp_path / "model", digest=pin(new), progress=quiet)
    fetch(web.uri, tmp_path / "model", digest=pin(new), progress=quiet)
    assert (tmp_path / "model" / "config.json").read_bytes() == b'{"new": 1}'


def test_a_killed_download_goes_on_where_it_was(web, tmp_path):
    web.slowness = 0.05
    command = [sys.executable, "-c", _FETCH, web.uri, str(tmp_path / "model"), pin(web.content)]
    with subprocess.Popen(command) as process:
        while web.sent < 1_000_000:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    web.slowness = 0
    (partial,) = tmp_path.glob(".model.*.partial/archive*")
    have = partial.stat().st_size
    assert have > 100_000
    web.asked.clear()
    fetch(web.uri, tmp_path / "model", digest=pin(web.content), progress=quiet)
    assert (f"bytes={have}-", None) in web.asked


def test_of_several_at_once_one_downloads_and_the_others_wait(web, tmp_path):
    web.may_send.clear()  # until the others have come
    command = [sys.executable, "-u", "-c", _FETCH, web.uri, str(tmp_path / "model"), pin(web.content)]
    logs = [tmp_path / f"said-{number}" for number in range(3)]
    processes = []
    for log in logs:
        with log.open("w") as output:
            processes.append(subprocess.Popen(command, stdout=output))

    def waiting():
        return sum("waiting for it" in log.read_text() for log in logs)

    until = time.monotonic() + 120
    while waiting() < 2 and time.monotonic() < until:
        time.sleep(0.02)
    web.may_send.set()
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert len(web.asked) == 2  # to see what there is, and to read it
    assert waiting() == 2


_FETCH = """
import sys
from pathlib import Path
from controllable_inference.fetch import fetch
fetch(sys.argv[1], Path(sys.argv[2]), digest=sys.argv[3])
"""


def test_another_digest_than_asked_for_leaves_nothing(web, tmp_path):
    with pytest.raises(ModelNotFound, match=r"its digest is sha256:.*if the change is known and wanted"):
        fetch(web.uri, tmp_path / "model", digest="sha256:" + "0" * 64, progress=quiet)
    assert not (tmp_path / "model").exists()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size]


STATUSES = [
    (401, ModelNotFound, r"access denied \(401\); check that the Secret in secretRef"),
    (403, ModelNotFound, r"access denied \(403\)"),
    (404, ModelNotFound, r"nothing of this name \(404\); check the uri"),
    (503, ModelFetchFailed, "the server answers 503; tried 3 times"),
    (418, ModelFetchFailed, "the server answers 418"),
]


@pytest.mark.parametrize(("status", "kind", "words"), STATUSES, ids=[str(status) for status, *_ in STATUSES])
def test_what_a_server_refuses_is_told_with_what_to_do(web, tmp_path, status, kind, words):
    web.status = status
    with pytest.raises(kind, match=words) as caught:
        fetch(web.uri, tmp_path / "model", digest=pin(web.content), progress=quiet)
    assert web.uri in str(caught.value)


def test_a_name_that_nobody_knows_is_told_as_such(tmp_path):
    with pytest.raises(ModelFetchFailed, match=r"the name nowhere.invalid can't be resolved.*DNS"):
        fetch("https://nowhere.invalid/nano.zip", tmp_path / "model", progress=quiet)


def test_a_full_disk_says_how_much_is_lacking_before_anything_is_downloaded(web, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    with pytest.raises(
        ModelFetchFailed, match=r"2.9 MiB are to be written.*976.6 KiB free; raise spec.model.cache"
    ):
        fetch(web.uri, tmp_path / "model", digest=pin(web.content), progress=quiet)
    assert len(web.asked) == 1


def test_a_disk_that_fills_up_meanwhile_is_told_as_such(web, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3500k", "tmpfs", str(full)]
    script = f'{" ".join(mount)} && head -c 1000000 /dev/zero > {full}/x && exec "$@"'
    code = f"import shutil, types; shutil.disk_usage = lambda _: types.SimpleNamespace(free=10**12)\n{_FETCH}"
    command = [sys.executable, "-c", code, web.uri, str(full / "model"), pin(web.content)]
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", *command],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no file system of one's own here: {done.stderr}")
    assert f"the disk of {full / 'model'} is full; raise spec.model.cache.size" in done.stderr


def test_credentials_go_to_https_alone_and_never_into_a_uri(web, tmp_path):
    web.password = "Bearer secret"
    environ = {"CONTROLLABLE_FETCH_TOKEN": "secret"}
    with pytest.raises(ModelNotFound, match="access denied") as caught:
        fetch(web.uri, tmp_path / "model", digest=pin(web.content), environ=environ, progress=quiet)
    assert {sent for _, sent in web.asked} == {None}
    assert "secret'" not in str(caught.value)
    for uri in ("https://me:secret@host/x.zip", "https://host/x.zip?token=secret"):
        with pytest.raises(ModelNotFound, match="credentials don't belong into a URI") as caught:
            fetch(uri, tmp_path / "model", progress=quiet)
        assert "token=secret" not in str(caught.value)
        assert "me:secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "header"),
    [
        ({"CONTROLLABLE_FETCH_TOKEN": "t"}, "Bearer t"),
        ({"CONTROLLABLE_FETCH_USERNAME": "me", "CONTROLLABLE_FETCH_PASSWORD": "p"}, "Basic bWU6cA=="),
    ],
    ids=["token", "username and password"],
)
def test_credentials_are_sent_as_the_secret_has_them(web, environ, header):
    web.password = header
    remote = WebRemote("https://host/nano.tar.gz", None, MODEL, environ)
    remote._uri = web.uri  # a TLS server would need a certificate; what is sent is the same
    assert remote.listing().files[0].size == len(web.content)


def redirecting(to):
    def answer(request):
        if request.url.host == "first":
            return httpx.Response(302, headers={"Location": to})
        return httpx.Response(200, content=request.headers.get("Authorization", "nobody").encode())

    transport = httpx.MockTransport(answer)
    return httpx.Client(transport=transport, follow_redirects=True, headers={"Authorization": "Bearer t"})


def test_a_redirect_takes_no_credentials_along(tmp_path):
    with http.response(redirecting("https://second/x.zip"), "https://first/x.zip", "uri", "") as answer:
        assert answer.read() == b"nobody"


def test_a_redirect_to_where_nothing_is_encrypted_is_refused():
    client = redirecting("http://second/x.zip")
    with (
        pytest.raises(ModelNotFound, match="redirects to second without encryption"),
        http.response(client, "https://first/x.zip", "uri", ""),
    ):
        pass


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("https://host/folder", "must name an archive"),
        ("http://host/nano.zip", "give a digest"),
    ],
)
def test_a_uri_that_can_be_no_archive_is_refused(tmp_path, uri, words):
    with pytest.raises(ModelNotFound, match=words):
        fetch(uri, tmp_path / "model", progress=quiet)


# --- what an archive must not bring -------------------------------------------------------------------------


def unpacked(content, tmp_path, kind=".tar.gz"):
    archive = tmp_path / f"archive{kind}"
    archive.write_bytes(content)
    folder = tmp_path / "inside"
    folder.mkdir()
    unpack(archive, folder, "https://host/nano", MODEL, Place(tmp_path / "model"))
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def link_entry(name, target, kind=tarfile.SYMTYPE):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def test_only_a_models_files_come_out(tmp_path):
    more = {"modeling_x.py": b"evil()", "pytorch_model.bin": b"pickle", "README.md": b"", "run.sh": b""}
    assert unpacked(tar_of(FILES | more), tmp_path) == set(FILES)


@pytest.mark.parametrize("name", ["../../etc/x.json", "/etc/x.json", "a/../../x.json", "..\\x.json"])
@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_no_file_leaves_the_folder(tmp_path, pack, name):
    kind = ".zip" if pack is zip_of else ".tar.gz"
    with pytest.raises(ModelNotFound, match="would lead out of the model's folder"):
        unpacked(pack(FILES | {name: b"{}"}), tmp_path, kind)
    assert not list(tmp_path.rglob("x.json"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    evil = link_entry("generation_config.json", "/etc/passwd", kind)
    with pytest.raises(ModelNotFound, match=r"generation_config.json is a link, not a file"):
        unpacked(tar_of(FILES, extra=[evil]), tmp_path)


def test_a_link_in_a_zip_is_refused(tmp_path):
    buffer = io.BytesIO(zip_of(FILES))
    with zipfile.ZipFile(buffer, "a") as archive:
        info = zipfile.ZipInfo("generation_config.json")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ModelNotFound, match="is a link"):
        unpacked(buffer.getvalue(), tmp_path, ".zip")


def test_a_bomb_is_refused_by_what_it_says_to_hold(tmp_path):
    bomb = zip_of({"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": bytes(30_000_000)})
    assert len(bomb) < 100_000
    with pytest.raises(ModelNotFound, match="made to fill disks"):
        unpacked(bomb, tmp_path, ".zip")
    assert not list((tmp_path / "inside").iterdir())


def test_an_archive_that_does_not_fit_the_disk_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    with pytest.raises(ModelFetchFailed, match=r"976\.6 KiB free"):
        unpacked(tar_of(FILES), tmp_path)


@pytest.mark.parametrize(
    "content", [b"no archive", tar_of(FILES)[:-1000], gzip.compress(b"no tar")], ids=["text", "cut", "gzip"]
)
def test_a_damaged_archive_is_told_as_such(tmp_path, content):
    with pytest.raises(ModelNotFound, match=r"is no archive that can be unpacked|is cut off"):
        unpacked(content, tmp_path)


def test_an_archive_of_pickled_weights_is_refused_with_the_reason(tmp_path):
    pickled = {"config.json": b"{}", "tokenizer.json": b"{}", "pytorch_model.bin": b"x"}
    with pytest.raises(ModelNotFound, match=r"only pickled weights \(pytorch_model.bin\).*runs code"):
        unpacked(tar_of(pickled), tmp_path)
