"""What is compared: ways to answer a question with one model on one engine.

A method has settings, which trade tokens for accuracy; each setting is a system, and the systems of a method
draw its frontier. Greedy decoding is a temperature, not a controller.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from controllable_inference.core.baselines import (
    AdaptiveConsistency,
    BestOfN,
    DeepConf,
    EarlyStopping,
    FastSample,
    LogProbPruning,
    MajorityVote,
    OnlineDeepConf,
    Oracle,
    RandomPruning,
    ScorePruning,
    SelfTruncation,
    ShortestPruning,
    ShortM,
    SingleSample,
    StepScores,
    WeightedVote,
)
from controllable_inference.core.baselines.weighing import Score
from controllable_inference.core.controller import Controller
from controllable_inference.learn.records import ProblemRecord

PATHS = 16
VOTERS = (1, 2, 4, 8, 16)
RATES = (0.25, 0.5, 0.62, 0.75)
"""Shares of paths pruned; 0.62 is the published article's claim."""
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
AC_THRESHOLDS = (0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
"""With one path at once these take 1, 2, 3, 4, 5 and 6 equal answers: anything up to 0.75 is one sample."""
WINDOWS = (2, 3, 4, 5)
KEPT = (10, 25, 50, 75, 90)
WARM_UPS = (2, 4, 8)
MEMORIES = (512, 1024, 2048)

Timing = Literal["parallel", "sequential"]


@dataclass(frozen=True)
class System:
    """A name, a controller (None for the one the model ships with) and a temperature.

    method: what this is a setting of. timing: whether all paths start together, or some only after others
    have ended, which saves tokens and costs latency. of_question: the controller for a question, where it
    depends on that; then `controller` is None. `controller_for` knows which of the two holds.
    """

    name: str
    controller: Controller | None
    temperature: float = 1.0
    method: str = ""
    timing: Timing = "parallel"
    of_question: Callable[[str], Controller] | None = None

    def controller_for(self, question: str) -> Controller | None:
        """What answers that question; None for the controller the model ships with."""
        return self.controller if self.of_question is None else self.of_question(question)


def plain_systems(token_cap: int, paths: int = PATHS) -> list[System]:
    """What needs nothing but the model: sampling, voting, early stops, pruning by what the engine counts."""
    found = [
        System("greedy", SingleSample(token_cap), 0.0, method="greedy"),
        System("fast", FastSample(token_cap), method="fast"),
    ]
    for n in (n for n in VOTERS if n <= paths):
        found.append(System(f"SC@{n}", MajorityVote(n, token_cap), method="SC"))
    for window in WINDOWS:
        esc = EarlyStopping(paths, window, token_cap)
        found.append(System(f"ESC w={window}", esc, method="ESC", timing="sequential"))
    for threshold in AC_THRESHOLDS:
        one = AdaptiveConsistency(paths, threshold, 1, token_cap)
        four = AdaptiveConsistency(paths, threshold, 4, token_cap)
        every = AdaptiveConsistency(paths, threshold, paths, token_cap)
        found += [
            System(f"AC {threshold}", one, method="AC", timing="sequential"),
            System(f"AC {threshold}, 4 at once", four, method="AC, 4 at once", timing="sequential"),
            System(f"AC {threshold}, all at once", every, method="AC, all at once"),
        ]
    for keep in KEPT:
        lowest = DeepConf(paths, keep, "lowest", token_cap)
        tail = DeepConf(paths, keep, "tail", token_cap)
        found += [
            System(f"DeepConf lowest η={keep}", lowest, method="DeepConf lowest"),
            System(f"DeepConf tail η={keep}", tail, method="DeepConf tail"),
        ]
        for warmup in WARM_UPS:
            online = OnlineDeepConf(paths, keep, warmup, token_cap=token_cap)
            name = f"DeepConf online, warm-up {warmup}, η={keep}"
            found.append(System(name, online, method="DeepConf online", timing="sequential"))
    for window in (1, 2, 3, 4):
        found.append(System(f"ST-BoN w={window}", SelfTruncation(paths, window, token_cap), method="ST-BoN"))
    for m in (1, 3, 5):
        found.append(System(f"short-{m}@{paths}", ShortM(paths, m, token_cap), method="short-m@k"))
    for rate in RATES:
        by_logprob = LogProbPruning(paths, rate, token_cap=token_cap)
        random = RandomPruning(paths, rate, token_cap=token_cap)
        shortest = ShortestPruning(paths, rate, token_cap)
        found += [
            System(f"log-probability, {rate:.0%} pruned", by_logprob, method="log-probability"),
            System(f"random, {rate:.0%} pruned", random, method="random"),
            System(f"shortest, {rate:.0%} pruned", shortest, method="shortest"),
        ]
    return found


def gate_systems(gate: Score, token_cap: int, paths: int = PATHS) -> list[System]:
    """What a gate's scores are good for besides the shipped controller."""
    found = []
    for n in (n for n in VOTERS if 1 < n <= paths):
        weighted, best = WeightedVote(gate, n, token_cap), BestOfN(gate, n, token_cap)
        found += [
            System(f"weighted SC@{n}", weighted, method="weighted SC"),
            System(f"best of {n}", best, method="best of n"),
        ]
    for rate in RATES:
        mean = ScorePruning(gate, paths, rate, "mean", token_cap=token_cap)
        latest = ScorePruning(gate, paths, rate, "latest", token_cap=token_cap)
        found += [
            System(f"mean score, {rate:.0%} pruned", mean, method="mean score"),
            System(f"latest score, {rate:.0%} pruned", latest, method="latest score"),
        ]
    for threshold in THRESHOLDS:
        step = StepScores(gate, paths, threshold=threshold, token_cap=token_cap)
        found.append(System(f"STEP-like, mean ≤ {threshold}", step, method="STEP-like, threshold"))
    for memory in MEMORIES:
        step = StepScores(gate, paths, memory=memory, token_cap=token_cap)
        found.append(System(f"STEP-like, {memory} tokens", step, method="STEP-like, memory"))
    return found


def oracle_systems(is_right: Callable[[str, str], bool], token_cap: int, paths: int = PATHS) -> list[System]:
    """pass@n, with all paths at once and one after another.

    is_right(question, answer): the verifier's word.
    """

    def oracle(at_once: int) -> Callable[[str], Controller]:
        return lambda question: Oracle(lambda answer: is_right(question, answer), paths, at_once, token_cap)

    return [
        System("oracle", None, method="oracle", of_question=oracle(paths)),
        System(
            "oracle, one by one",
            None,
            method="oracle, one by one",
            timing="sequential",
            of_question=oracle(1),
        ),
    ]


def recorded_verdicts(records: Sequence[ProblemRecord]) -> Callable[[str, str], bool]:
    """is_right(question, answer) from recordings: what the verifier said of their paths' answers."""
    right = {r.question: {p.answer for p in (*r.paths, *r.fast) if p.right} for r in records}
    return lambda question, answer: answer in right[question]
