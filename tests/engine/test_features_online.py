"""The engine's features are those of a recording of the same paths, computed by plain transformers."""

import torch
from controllable_inference.control.allocation import BudgetRule
from controllable_inference.control.controller import GatedController
from controllable_inference.control.features import RecordedPath, features_of_recording, token_statistics
from controllable_inference.control.views import Answer
from controllable_inference.engine.request import SamplingParams


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


def test_online_features_are_those_of_a_recording(stepped, models_by_family, tokenizer):
    recorder = Recorder()
    engine = stepped(recorder)
    tokens: dict[int, list[int]] = {}
    request = engine.submit("1+2=", SamplingParams(seed=11))
    engine.step()
    group = engine.core.groups[0]
    engine.run()
    tokens = {p.index: p.tokens for p in group.paths}
    assert request.kinds[-1] == "done"

    prompt, model = tokenizer.encode("1+2="), models_by_family["llama"]
    delimiters = engine.engine.vocabulary.delimiters
    recorded = []
    for path in tokens.values():
        with torch.inference_mode():
            out = model(torch.tensor([prompt + path]), output_hidden_states=True)
        before = torch.log_softmax(out.logits[0, len(prompt) - 1 : -1], -1)
        recorded.append(
            RecordedPath(
                out.hidden_states[-1][0, len(prompt) :],
                torch.stack(token_statistics(before, torch.tensor(path)), dim=1),
                delimiters.boundaries(path, tokenizer.convert_tokens_to_ids("</think>")),
            )
        )
    offline = torch.cat(features_of_recording(recorded))
    online = torch.stack(recorder.seen)
    assert len(online) == len(offline) > 3
    in_order = offline[torch.cdist(online, offline).argmin(1)]
    assert torch.allclose(online, in_order, atol=2e-4)
    assert len(torch.cdist(online, offline).argmin(1).unique()) == len(offline)
