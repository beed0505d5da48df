"""s3:// against a real S3 server (moto's), which checks signatures and knows who may do what."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime

import httpx
import obstore
import pytest
from controllable_inference.errors import ModelFetchFailed, ModelNotFound
from controllable_inference.fetch import download, fetch
from obstore.exceptions import GenericError
from obstore.store import S3Store

# In an environment of its own: what it depends on can't be installed beside ours.
SERVER = [
    "uv",
    "tool",
    "run",
    "--from",
    "moto==5.2.5",
    "--with",
    "flask==3.1.3",
    "--with",
    "flask-cors==6.0.5",
]
SERVER += ["--with", "py-partiql-parser==0.6.3", "moto_server"]
WEIGHTS = os.urandom(20 << 20)  # more than one request brings
FILES = {
    "nano/config.json": b"{}",
    "nano/tokenizer.json": b"{}",
    "nano/model.safetensors": WEIGHTS,
    "nano/README.md": b"hello",
    "nano/deep/extra.json": b"[]",
    "nanotoo/config.json": b"another model",
    "pickled/config.json": b"{}",
    "pickled/pytorch_model.bin": b"pickle",
}


def quiet(_message):
    pass


@pytest.fixture(scope="module")
def endpoint():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-m", *SERVER, "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 200
        while True:
            assert process.poll() is None, "the S3 server ended"
            assert time.monotonic() < deadline, "the S3 server does not come up"
            try:
                urllib.request.urlopen(f"{url}/moto-api/", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def keys(endpoint):
    """A user who may read the bucket `models`, as the variables that fetch gets from the Secret."""
    user = _iam(endpoint, "CreateUser", UserName="reader") and _iam(
        endpoint, "CreateAccessKey", UserName="reader"
    )
    allowed = {
        "Effect": "Allow",
        "Action": ["s3:ListBucket", "s3:GetObject"],
        "Resource": "arn:aws:s3:::models*",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    _iam(endpoint, "PutUserPolicy", UserName="reader", PolicyName="read", PolicyDocument=policy)
    writer = {"access_key_id": "x", "secret_access_key": "x", "client_options": {"allow_http": True}}
    for bucket in ("models", "private", "public"):
        urllib.request.urlopen(_signed("PUT", f"{endpoint}/{bucket}")).close()
        store = S3Store(bucket, endpoint=endpoint, region="us-east-1", **writer)
        for name, content in FILES.items():
            obstore.put(store, name, content)
            if bucket == "public":
                open_up = _signed("PUT", f"{endpoint}/{bucket}/{name}?acl", b"")
                open_up.add_header("x-amz-acl", "public-read")
                urllib.request.urlopen(open_up).close()
    _let_in_without_asking(endpoint, "0")
    return {
        "AWS_ACCESS_KEY_ID": re.search("<AccessKeyId>(.*)</AccessKeyId>", user)[1],
        "AWS_SECRET_ACCESS_KEY": re.search("<SecretAccessKey>(.*)</SecretAccessKey>", user)[1],
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": "us-east-1",
    }


def _let_in_without_asking(endpoint, requests):
    asks = f"{endpoint}/moto-api/reset-auth"
    headers = {"Content-Type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(asks, requests.encode(), headers)).close()


def _signed(method, url, data=None, service="s3"):
    # Nobody checks the signature yet; this is to say which service is meant.
    day = datetime.now(UTC).strftime("%Y%m%d")
    who = f"Credential=x/{day}/us-east-1/{service}/aws4_request"
    scope = f"AWS4-HMAC-SHA256 {who}, SignedHeaders=host, Signature=x"
    return urllib.request.Request(url, data, {"Authorization": scope}, method=method)


def _iam(endpoint, action, **parameters):
    form = httpx.QueryParams({"Action": action, "Version": "2010-05-08"} | parameters)
    with urllib.request.urlopen(_signed("POST", endpoint, str(form).encode(), "iam")) as answer:
        return answer.read().decode()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(download, "PAUSES", (0.01, 0.01))


def test_the_objects_under_a_prefix_become_the_models_folder(keys, tmp_path):
    found = fetch("s3://models/nano", tmp_path / "model", environ=keys, progress=quiet)
    names = {path.relative_to(tmp_path / "model").as_posix() for path in (tmp_path / "model").rglob("*.*")}
    assert names == {".source", "config.json", "deep/extra.json", "model.safetensors", "tokenizer.json"}
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == WEIGHTS
    again = fetch("s3://models/nano/", tmp_path / "pinned", digest=found.digest, environ=keys, progress=quiet)
    assert again == found


def test_a_download_that_broke_off_goes_on_with_the_bytes_that_are_here(keys, tmp_path, monkeypatch):
    real, asked = obstore.get, []

    def get(store, path, *, options):
        asked.append((path, options["range"]))
        if path == "nano/model.safetensors" and options["range"][0] >= 16 << 20 and breaks:
            raise GenericError("the connection was reset")
        return real(store, path, options=options)

    breaks = True
    monkeypatch.setattr(obstore, "get", get)
    with pytest.raises(
        ModelFetchFailed, match=r"the connection was reset; tried 3 times, the next try goes on"
    ):
        fetch("s3://models/nano", tmp_path / "model", environ=keys, progress=quiet)
    breaks = False
    asked.clear()
    fetch("s3://models/nano", tmp_path / "model", environ=keys, progress=quiet)
    assert asked == [("nano/model.safetensors", (16 << 20, 20 << 20))]
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("change", "uri", "words"),
    [
        (
            {"AWS_SECRET_ACCESS_KEY": "wrong"},
            "s3://models/nano",
            r"access denied by http.*SignatureDoesNotMatch.*secret-access-key",
        ),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "s3://models/nano", "access denied by http"),
        ({}, "s3://private/nano", "access denied by http"),
        ({}, "s3://models-to-come/nano", r"has no such bucket or object.*NoSuchBucket"),
        ({}, "s3://models/nothing", "no objects under this prefix"),
        ({}, "s3://models/pickled", r"only pickled weights \(pytorch_model.bin\)"),
    ],
    ids=["secret", "user", "foreign", "bucket", "prefix", "pickled"],
)
def test_what_a_server_refuses_is_told_with_what_to_do(keys, tmp_path, change, uri, words):
    with pytest.raises(ModelNotFound, match=words) as caught:
        fetch(uri, tmp_path / "model", environ=keys | change, progress=quiet)
    assert str(caught.value).startswith(uri)
    assert keys["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ("http://127.0.0.1:9", r"http://127.0.0.1:9 failed.*tried 3 times"),
        ("http://nowhere.invalid", r"the name of http://nowhere.invalid can't be resolved.*DNS"),
    ],
)
def test_a_server_that_is_not_there_is_told_as_such(keys, tmp_path, server, words):
    with pytest.raises(ModelFetchFailed, match=words):
        fetch("s3://models/nano", tmp_path / "m", environ=keys | {"AWS_ENDPOINT_URL": server}, progress=quiet)


def test_a_public_bucket_needs_no_keys(keys, tmp_path):
    _let_in_without_asking(keys["AWS_ENDPOINT_URL"], "inf")
    environ = {"AWS_ENDPOINT_URL": keys["AWS_ENDPOINT_URL"]}
    try:
        assert fetch("s3://public/nano", tmp_path / "model", environ=environ, progress=quiet).size
    finally:
        _let_in_without_asking(keys["AWS_ENDPOINT_URL"], "0")


def test_the_command_keeps_keys_out_of_what_it_prints(keys, tmp_path):
    command = [sys.executable, "-m", "controllable_inference.cli", "fetch", "s3://models/nano"]
    done = subprocess.run(
        [*command, "--to", str(tmp_path / "model")],
        env=os.environ | keys,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert "its digest is sha256:" in said
    assert keys["AWS_SECRET_ACCESS_KEY"] not in said
    assert keys["AWS_ACCESS_KEY_ID"] not in said
