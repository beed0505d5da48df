"""How long a verdict on the model is shared: a bad one less long than a good one."""

import asyncio

from controllable_inference.serving.frontend import health
from controllable_inference.serving.frontend.errors import ApiError
from controllable_inference.serving.frontend.settings import FrontendSettings
from controllable_inference.serving.frontend.triton_client import Reply


class Model:
    """Triton's client, of a model that answers or doesn't. questions: how often it was asked."""

    last_progress = 0.0

    def __init__(self, answers):
        self.answers = answers
        self.questions = 0

    async def is_loading(self):
        return False

    async def ask(self, _):
        self.questions += 1
        if not self.answers:
            raise ApiError(503, "not healthy")
        yield Reply(finish_reason="stop")


def of(model):
    return health.Health(model, FrontendSettings(model="nano", canary_age=3600.0))


async def test_a_model_that_has_recovered_is_ready_long_before_a_good_verdict_would_be_old(monkeypatch):
    monkeypatch.setattr(health, "BAD_AGE", 0.05)
    model = Model(answers=False)
    asked = of(model)
    assert not (await asked.verdict()).ready
    model.answers = True
    await asyncio.sleep(0.06)
    assert (await asked.verdict()).ready


async def test_even_a_bad_verdict_is_shared_for_a_moment(monkeypatch):
    monkeypatch.setattr(health, "BAD_AGE", 3600.0)
    model = Model(answers=False)
    asked = of(model)
    assert [(await asked.verdict()).live for _ in range(3)] == [False] * 3
    assert model.questions == 1
