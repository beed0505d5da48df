"""What vLLM is told of paths, and what control sees of its steps, with a stand-in for vLLM.

The stand-in writes by a script instead of a model; the real one is run by `make test-vllm`.
"""

import threading
from dataclasses import replace

import pytest
import torch
from controllable_inference.core.baselines import MajorityVote
from controllable_inference.core.request import SamplingParams
from controllable_inference.core.steps import StepDelimiters
from controllable_inference.core.views import Close, Inject, Probe, Prune, Spawn
from controllable_inference.engines.detokenizer import Detokenizer
from controllable_inference.engines.limits import EngineLimits
from controllable_inference.engines.prompt import PromptRenderer
from controllable_inference.engines.vllm.engine import VllmEngine
from controllable_inference.engines.vllm.model_runner import Drawn, StepOutput
from controllable_inference.engines.vocabulary import Vocabulary
from tiny_engines import Watched, make_model

HIDDEN = 8
PROMPT = "1+2="
THOUGHT = "22\n22\n22\n22\n</think>3"
"""What every path writes if nothing is written into it; a line is a step."""


class Runner:
    """Stands for VllmRunner. `late`: rows that draw nothing in the next steps. `rows`: tokens by row."""

    context, block_size, hidden_size, observes = 64, 4, HIDDEN, True
    device = torch.device("cpu")

    def __init__(self, tokenizer, blocks=400):
        self.tokenizer = tokenizer
        self.blocks = blocks
        self.rows: dict[str, list[int]] = {}
        self.asked: dict[str, str] = {}
        self.added: list[tuple[str, str]] = []
        self.aborted: list[str] = []
        self.late: set[str] = set()

    @property
    def free_blocks(self):
        return self.blocks - sum(-(-len(tokens) // self.block_size) for tokens in self.rows.values())

    def add(self, row, tokens, draw, observe="", adapter=None):
        self.rows[row], self.asked[row] = list(tokens), observe
        self.added.append((row, self.tokenizer.decode(tokens)))

    def abort(self, row):
        self.aborted.append(row)
        del self.rows[row]

    def step(self):
        going = [row for row in self.rows if row not in self.late]
        hidden = torch.zeros(len(going), HIDDEN)
        prompts = {
            row: torch.zeros(len(self.rows[row]), HIDDEN) for row in going if self.asked[row] == "prompt"
        }
        step = StepOutput({}, hidden, torch.zeros(len(going), 3), prompts)
        for at, row in enumerate(going):
            token = self._next(self.rows[row])
            self.rows[row].append(token)
            step.drawn[row] = Drawn(token, step, at)
        for row in prompts:
            del self.rows[row]  # one token was asked for, and drawn
        return step

    def _next(self, tokens):
        written = self.tokenizer.decode(tokens).removeprefix(PROMPT)
        if "</think>" in written:
            return self.tokenizer.convert_tokens_to_ids(
                "3" if written.endswith(("</think>", "=")) else "<eos>"
            )
        rest = THOUGHT[len(written) :] or "2"
        word = "</think>" if rest.startswith("</think>") else rest[0]
        return self.tokenizer.convert_tokens_to_ids(word)


class Told(MajorityVote):
    """Does at each asking what `decide_by(request)` says."""

    def __init__(self, paths, decide_by=lambda request: [], max_paths=None, needs_hidden=False):
        super().__init__(paths, 40)
        self.most_paths = max_paths or paths
        self.needs_prompt_hidden = needs_hidden
        self._max_paths = max_paths
        self._decide_by = decide_by

    def plan(self, prompt):
        return replace(super().plan(prompt), max_paths=self._max_paths)

    def decide(self, request):
        return self._decide_by(request)


class Stepped:
    """The engine on the stand-in; every step is the test's own."""

    def __init__(self, tokenizer, controller, **limits):
        model = make_model()
        vocabulary = replace(
            Vocabulary.of(model, tokenizer, None),
            delimiters=StepDelimiters(["\n"], Detokenizer(tokenizer).token_text),
            closing=tuple(tokenizer.encode("</think>=", add_special_tokens=False)),
            lenient=False,
            cue="",
        )
        self.runner = Runner(tokenizer, limits.pop("blocks", 400))
        self.engine = VllmEngine(
            self.runner,
            PromptRenderer(tokenizer, "</think>", None),
            vocabulary,
            controller,
            EngineLimits(**limits),
            SamplingParams(1.0, 1.0, 0),
        )
        self.core = self.engine._core
        self.engine._thread = threading.current_thread()

    def submit(self, **options):
        request = Watched(self.engine, PROMPT, SamplingParams(seed=1), None, options)
        self.engine._obey(self.core)
        return request

    def step(self, count=1):
        for _ in range(count):
            self.core.step()

    def run(self):
        for _ in range(200):
            if not self.core.outputs.groups:
                assert not self.runner.rows
                return
            self.core.step()
        raise AssertionError("requests still in the engine")


@pytest.fixture
def stepped(tokenizer):
    return lambda controller, **limits: Stepped(tokenizer, controller, **limits)


def test_paths_of_a_request_are_rows_with_its_prompt_and_vote(stepped):
    running = stepped(Told(3))
    request = running.submit()
    running.step()
    assert [text for _, text in running.runner.added] == [PROMPT] * 3
    running.run()
    assert [path.text for path in request.result.paths] == [THOUGHT] * 3
    assert request.result.answer == "3"


def test_a_pruned_path_is_aborted_in_the_step_that_computes_the_end_of_its_step(stepped):
    running = stepped(Told(2, lambda request: [Prune(1)] if request.paths[1].at_boundary else []))
    request = running.submit()
    running.step(3)
    assert running.runner.aborted == []
    running.step()  # the third token, "\n", is computed now, and a fourth drawn that nobody takes
    assert running.runner.aborted == [running.runner.added[1][0]]
    running.run()
    assert request.result.paths[1].tokens == 3


def test_what_is_written_into_a_path_goes_into_a_new_row_behind_all_its_tokens(stepped):
    def decide(request):
        first = request.paths[0]
        if not first.at_boundary:
            return []
        return [Inject(0, "=")] if first.steps == 1 else [Close(0, "enough")]

    running = stepped(Told(1, decide))
    request = running.submit()
    running.run()
    texts = [text for _, text in running.runner.added]
    assert texts[:2] == [PROMPT, f"{PROMPT}22\n="]
    assert texts[2].endswith("\n</think>=")
    (path,) = request.result.paths
    assert (path.closed, path.answer) == ("enough", "=3")


def test_a_spawned_path_starts_with_the_prompt_and_a_trial_with_all_that_its_path_has(stepped):
    asked = set()

    def decide(request):
        if not request.paths[0].at_boundary or asked:
            return []
        asked.add("once")
        return [Spawn(1), Probe(0)]

    running = stepped(Told(1, decide, max_paths=2))
    request = running.submit()
    running.run()
    texts = [text for _, text in running.runner.added]
    assert sorted(texts[1:]) == sorted([PROMPT, f"{PROMPT}22\n</think>="])
    assert len(request.result.paths) == 2
    assert request.result.usage.probe_tokens == 2


def test_paths_that_vllm_computes_earlier_wait_for_those_it_computes_later(stepped):
    """So that a controller sees the same whatever else is computed."""
    seen = []

    def note(request):
        seen.append([path.tokens for path in request.paths])
        return []

    running = stepped(Told(2, note))
    running.submit()
    running.step(2)
    (slow, _) = running.runner.added[1]
    running.runner.late = {slow}
    running.step(3)
    running.runner.late = set()
    running.run()
    assert all(one == other for one, other in seen)


def test_a_prompt_whose_hidden_states_are_wanted_is_computed_first(stepped):
    running = stepped(Told(2, needs_hidden=True))
    request = running.submit()
    running.step()
    assert [(text, running.runner.asked[row]) for row, text in running.runner.added] == [(PROMPT, "prompt")]
    running.run()
    assert len(request.result.paths) == 2


def test_the_youngest_request_is_preempted_when_blocks_run_out_and_goes_on_later(stepped):
    running = stepped(Told(3), blocks=20)
    requests = [running.submit() for _ in range(2)]
    running.run()
    assert running.runner.aborted
    for request in requests:
        assert [path.text for path in request.result.paths] == [THOUGHT] * 3


def test_a_request_that_is_preempted_before_it_has_a_plan_gets_one_later(stepped):
    running = stepped(Told(1, needs_hidden=True))
    request = running.submit()
    running.step(0)
    (group,) = running.core.outputs.groups
    running.core.rows.admit(0.0)
    running.core.rows.compute_prompt(group)
    running.core.rows.preempt(group)
    running.run()
    assert request.result.answer == "3"


def test_one_request_alone_that_needs_more_than_there_is_loses_paths_and_ends(stepped):
    running = stepped(Told(8), blocks=21)
    request = running.submit()
    running.run()
    fates = [(path.fate, path.reason) for path in request.result.paths]
    assert ("pruned", "memory") in fates
    assert ("kept", "eos") in fates


def test_a_trial_that_would_not_fit_into_the_context_is_not_begun(stepped):
    running = stepped(Told(1, lambda request: [Probe(0)] if request.paths[0].at_boundary else []))
    running.runner.context = 30
    request = running.submit()
    running.run()
    assert request.result.usage.probe_tokens == 0


def test_numbers_that_are_none_fail_their_request_and_no_other(stepped):
    running = stepped(Told(1))
    broken, fine = running.submit(), running.submit()
    step = running.runner.step

    def unsound():
        output = step()
        output.statistics[0] = torch.nan
        running.runner.step = step
        return output

    running.runner.step = unsound
    running.run()
    assert broken.events[-1].error == "ModelOutputError"
    assert fine.result.answer == "3"
