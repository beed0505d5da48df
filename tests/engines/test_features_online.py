"""The engine's features are those of a recording of the same paths, computed by plain transformers."""

import torch
from controllable_inference.core.allocation import BudgetRule
from controllable_inference.core.controller import GatedController
from controllable_inference.core.features import (
    STATISTICS,
    RecordedPath,
    features_of_recording,
    token_statistics,
)
from controllable_inference.core.request import SamplingParams
from controllable_inference.core.steps import step_texts
from controllable_inference.core.views import Answer


class Recorder(GatedController):
    """Prunes nothing, stops never, and keeps the features it was asked to score."""

    def __init__(self) -> None:
        super().__init__(BudgetRule(5, 40, 5), self._record)
        self.seen: list[torch.Tensor] = []

    def _record(self, features: torch.Tensor) -> torch.Tensor:
        self.seen += features
        return torch.full((len(features),), 0.5)

    def decide(self, request):
        return []

    def answer(self, request) -> Answer:
        return Answer(None, 0.0, {})


SAMPLINGS = [
    SamplingParams(seed=2, temperature=0.3),  # cold enough for paths to write the same
    SamplingParams(seed=2, temperature=0.7),  # with an answer, while others still run
    SamplingParams(seed=1),
    SamplingParams(seed=11),
]


def recordings(group, result, model, tokenizer, delimiters):
    """The paths of one request as plain transformers sees them."""
    prompt = tokenizer.encode("1+2=")
    for path, ended in zip(group.paths, result.paths, strict=True):
        tokens = path.tokens
        with torch.inference_mode():
            out = model(torch.tensor([prompt + tokens]), output_hidden_states=True)
        before = torch.log_softmax(out.logits[0, len(prompt) - 1 : -1], -1)
        boundaries = delimiters.boundaries(tokens, tokenizer.convert_tokens_to_ids("</think>"))
        yield RecordedPath(
            out.hidden_states[-1][0, len(prompt) :],
            torch.stack(token_statistics(before, torch.tensor(tokens)), dim=1),
            boundaries,
            step_texts(tokens, boundaries, tokenizer.decode),
            ended.answer,
        )


def test_online_features_are_those_of_a_recording(stepped, models_by_family, tokenizer):
    recorder = Recorder()
    engine = stepped(recorder)
    requests = [engine.submit("1+2=", sampling) for sampling in SAMPLINGS]
    engine.step()
    groups = engine.core.groups
    engine.run()
    delimiters = engine.engine.vocabulary.delimiters
    offline = torch.cat(
        [
            vectors
            for group, request in zip(groups, requests, strict=True)
            for vectors in features_of_recording(
                list(recordings(group, request.result, models_by_family["llama"], tokenizer, delimiters))
            )
        ]
    )
    online = torch.stack(recorder.seen)
    assert len(online) == len(offline) > 10
    apart = torch.cdist(online, offline)  # paths of one request may be equal so far, and then so are these
    assert torch.allclose(online, offline[apart.argmin(1)], atol=2e-4)
    assert torch.allclose(offline, online[apart.argmin(0)], atol=2e-4)
    agreement = dict(zip(STATISTICS, online[:, -len(STATISTICS) :].unbind(1), strict=True))
    assert {0.0, 0.5, 1.0} <= set(agreement["step_agreement"].tolist())
    assert {0.0, 0.5} <= set(agreement["answer_agreement"].tolist())
