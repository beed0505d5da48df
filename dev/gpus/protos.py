"""The protocol between kubelet and its plugins, from the Kubernetes that the local cluster runs.

Nothing is generated: protoc makes descriptors of the definitions in the Go module k8s.io/kubelet, cached by
its version, and messages are made from these. Handlers take and return plain values.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

from dev.cluster.errors import ClusterError
from dev.cluster.paths import TOOLS, cache_dir, locked
from dev.gpus.modules import downloaded

DRA = "k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin"
REGISTRATION = "pluginregistration.Registration"

_KUBELET, _GOGO = "k8s.io/kubelet", "github.com/gogo/protobuf"

Method = Callable[[dict[str, Any]], dict[str, Any]]


def compiled() -> Path:
    """The descriptors; made at the first time, which needs Go and its module proxy."""
    target = cache_dir() / "protos" / f"kubelet-{_version()}.binpb"
    with locked(target.with_suffix(".lock")):
        if not target.exists():
            unfinished = target.with_suffix(".unfinished")
            _compile(unfinished)
            unfinished.rename(target)
    return target


def handlers(service: str, methods: Mapping[str, Method]) -> grpc.GenericRpcHandler:
    """A gRPC service by functions from a request to an answer, both in protobuf's JSON form."""
    return grpc.method_handlers_generic_handler(
        service, {name: _handler(described(service, name), method) for name, method in methods.items()}
    )


def described(service: str, method: str) -> Any:
    """protobuf's descriptor of a method."""
    return _pool().FindServiceByName(service).methods_by_name[method]


def _handler(descriptor: Any, method: Method) -> grpc.RpcMethodHandler:
    request = message_factory.GetMessageClass(descriptor.input_type)
    answer = message_factory.GetMessageClass(descriptor.output_type)
    return grpc.unary_unary_rpc_method_handler(
        lambda message, _: method(message),
        request_deserializer=lambda data: json_format.MessageToDict(request.FromString(data)),
        response_serializer=lambda value: json_format.ParseDict(value, answer()).SerializeToString(),
    )


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(compiled().read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def _version() -> str:
    found = re.search(rf"=> {_KUBELET} (v\S+)", (TOOLS / "go.mod").read_text())
    if not found:
        raise ClusterError(f"{TOOLS / 'go.mod'} names no version of {_KUBELET}")
    return found[1]


def _compile(target: Path) -> None:
    kubelet, gogo = (downloaded(module, TOOLS)["Dir"] for module in (_KUBELET, _GOGO))
    try:
        command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={_GOGO}={gogo}"]
        command += [f"--proto_path={_KUBELET}={kubelet}", "--include_imports"]
        command += [f"--descriptor_set_out={target}"]
        command += [f"{_KUBELET}/pkg/apis/{api}/v1/api.proto" for api in ("dra", "pluginregistration")]
        subprocess.run(command, capture_output=True, text=True, check=True)
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        said = getattr(error, "stderr", None) or getattr(error, "stdout", None) or str(error)
        raise ClusterError(
            f"the protocol of kubelet's plugins can't be had: {said.strip()}",
            "python -m dev.gpus build, where Go and its module proxy can be reached",
        ) from error
