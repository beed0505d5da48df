"""The shipped model.py on the real engine, with one addition: a prompt that holds KILL kills its thread."""

import importlib.util

from controllable_inference.resources import resource
from controllable_inference.serving.triton_model import build_engine

spec = importlib.util.spec_from_file_location(
    "shipped", resource("model_repository") / "controllable/1/model.py"
)
shipped = importlib.util.module_from_spec(spec)
spec.loader.exec_module(shipped)


def build(config, observer):
    engine, think_end = build_engine(config, observer)
    submit = engine.submit

    def submit_or_die(prompt, *args, **options):
        if "KILL" in str(prompt):
            engine._core.step = lambda: 1 / 0
        return submit(prompt, *args, **options)

    engine.submit = submit_or_die
    return engine, think_end


class TritonPythonModel(shipped.TritonPythonModel):
    def serve(self):
        return shipped.ServedModel.from_environment(self._series, build)
