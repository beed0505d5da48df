"""Triton's side of the engine: tensors in, events out. What they mean is decided in the framework."""

import atexit
import json
import logging
import os
import sys
import threading
import time

import triton_python_backend_utils as pb_utils
from controllable_inference.serving.triton import check_numpy

check_numpy()  # before anything touches a tensor

import numpy as np  # noqa: E402
from controllable_inference.serving.triton_model import ServedModel  # noqa: E402


class TritonPythonModel:
    """Lives in Triton's stub process, one instance; the engine has its own thread in it."""

    def initialize(self, args):
        logging.basicConfig(level=logging.INFO, stream=sys.stderr)
        threading.Thread(target=_leave_after, args=(os.getppid(),), daemon=True).start()
        atexit.register(_leave)  # before torch comes with handlers of its own, which then run before it
        self._families = {}
        self._model = self.serve()

    def serve(self):
        """The served model; Triton reads failure here as failure to load."""
        return ServedModel.from_environment(self._series)

    def execute(self, requests):
        for request in requests:
            self._model.accept(
                _tensors(request), _parameters(request), Channel(request.get_response_sender())
            )
        return None

    def finalize(self):
        self._model.close()
        # Triton's metric objects must go before the stub does, else it crashes on its way out.
        self._model = None
        self._families.clear()

    def _series(self, name, metric, labels):
        if name not in self._families:
            kind = getattr(pb_utils.MetricFamily, metric.kind.upper())
            self._families[name] = pb_utils.MetricFamily(name=name, description=metric.help, kind=kind)
        buckets = {"buckets": list(metric.buckets)} if metric.buckets else {}
        return self._families[name].Metric(labels=dict(labels), **buckets)


class Channel:
    """The way back to one client. The flag on the last response closes it; nothing may follow."""

    def __init__(self, sender):
        self._sender = sender

    def send(self, outputs, final):
        tensors = [
            pb_utils.Tensor(name, np.array(value if isinstance(value, list) else [value], dtype=np.object_))
            for name, value in outputs.items()
        ]
        self._respond(pb_utils.InferenceResponse(output_tensors=tensors), final)

    def fail(self, code, message):
        error = pb_utils.TritonError(message, getattr(pb_utils.TritonError, code))
        self._respond(pb_utils.InferenceResponse(output_tensors=[], error=error), final=True)

    def is_cancelled(self):
        return self._sender.is_cancelled()

    def _respond(self, response, final):
        flags = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if final else 0
        self._sender.send(response, flags=flags)


def _leave():
    """End the process: taking an interpreter with torch apart would add a second to every stop."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _leave_after(server):
    """End the process when the server has ended without a word.

    Triton's stub means to do so itself, but first takes apart what it shared with the server, and may wait
    for ever for a lock that the server had when it died.
    """
    while os.getppid() == server:
        time.sleep(1)
    time.sleep(5)
    os._exit(1)


def _tensors(request):
    """The first element of each input: bytes, or a bool."""
    return {tensor.name(): tensor.as_numpy().reshape(-1)[0] for tensor in request.inputs()}


def _parameters(request):
    return json.loads(request.parameters() or "{}")
