"""From a model and a task to control.json: sample, judge, train, calibrate, choose, write.

The parts may be trained one at a time; what is already there stays. All that costs time is kept on disk as it
is done, so a run that was killed goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from controllable_inference.core.budget import BudgetPredictor
from controllable_inference.core.config import CONTROL_FILE, ControlConfig, FeatureConfig
from controllable_inference.core.features import GATE_FEATURES, select
from controllable_inference.core.gate import PathGate
from controllable_inference.core.load import check_digests, load_policy, weights_digest
from controllable_inference.core.policy import PolicyNet
from controllable_inference.engines.engine import Engine
from controllable_inference.errors import ControlConfigError
from controllable_inference.learn import control
from controllable_inference.learn.control import BudgetPart, ControlTarget, GatePart, PolicyPart
from controllable_inference.learn.delimiters import described
from controllable_inference.learn.problems import Split
from controllable_inference.learn.progress import Progress
from controllable_inference.learn.records import ProblemRecord, with_columns
from controllable_inference.learn.rollouts import Sampling, judged, record
from controllable_inference.learn.shards import shards_of
from controllable_inference.learn.subject import Subject, TrainingError, check_writable, verifier_of
from controllable_inference.learn.task import SUITE, Judge, Task, TaskProblem

LEARNED_FROM = (Split.GATE, Split.VALIDATION, Split.CALIBRATION)
SHARD = 64
"""Problems recorded between two writes: what a kill can cost."""


class Part(StrEnum):
    """What of control.json is trained."""

    GATE = "gate"
    BUDGET = "budget"
    POLICY = "policy"


@dataclass(frozen=True)
class TrainingOptions:
    """problems: most of each split, None for all. tolerant: a verifier's failure makes an answer wrong.

    recall: of right paths, what the gate's threshold promises. tested: record the test split too, and report
    on it. concurrency: requests in flight while recording.
    """

    sampling: Sampling = field(default_factory=Sampling)
    problems: int | None = None
    tolerant: bool = False
    recall: float = control.RECALL
    tested: bool = False
    concurrency: int = 64


@dataclass(frozen=True)
class Recorded:
    """Judged recordings by split. errors: how often the verifier failed."""

    splits: dict[Split, list[ProblemRecord]]
    errors: int = 0


def train(
    model: Path,
    task: Task,
    parts: Sequence[Part],
    *,
    output: Path | None = None,
    work: Path = Path("build/train"),
    options: TrainingOptions | None = None,
    progress: Progress | None = None,
) -> ControlConfig:
    """Train `parts` for the model in a folder; write control.json and all weights to `output`, which is that
    folder if not said. What is there already, or beside the model, and is not trained now, is kept.

    Raises TaskError, VerifierError, RecordingError, RecordsError, TrainingError, ControlConfigError and
    ModelLoadError, each of which says what to do.
    """
    options, progress, output = options or TrainingOptions(), progress or Progress(), output or model
    check_writable(output)
    wanted = (*LEARNED_FROM, Split.TEST) if options.tested else LEARNED_FROM
    problems = {split: task.part(split, options.problems) for split in wanted}
    subject = Subject.load(model, output)
    sampling = options.sampling
    questions = [problem.question for problem in problems[Split.GATE]]
    subject = described(subject, questions, sampling.token_cap, sampling.temperature)
    kept = kept_parts(subject, parts)
    recorded = record_task(subject, task, problems, work, options, progress)
    with progress.stage("control"):
        made = train_parts(parts, kept, subject, recorded, task, options, progress)
        made.save(output)
    if Part.GATE in parts and kept.budget is not None:
        progress.say("the fast threshold was chosen beside the gate before this one: now `train budget` too")
    if kept.policy is not None:
        progress.say("the policy has learned beside the parts before these: now `train policy` too")
    progress.say(f"written: {output / CONTROL_FILE}")
    return made.config


# recording


def record_task(
    subject: Subject,
    task: Task,
    problems: Mapping[Split, Sequence[TaskProblem]],
    work: Path,
    options: TrainingOptions,
    progress: Progress,
) -> Recorded:
    """Judged recordings of these problems: read from `work`, or made and kept there."""
    judge = Judge(verifier_of(task, subject.config), options.tolerant)
    shards = shards_of(work, subject.folder, subject.digest, subject.config, task.name, options.sampling)
    known = shards.load()
    splits = {}
    with subject.engine() as engine:
        missing_of = {
            split: [problem for problem in its if problem.question not in known]
            for split, its in problems.items()
        }
        with progress.stage("recordings", adds=any(missing_of.values())):
            for split, its in problems.items():
                missing = missing_of[split]
                with progress.bar(split, len(its), len(its) - len(missing)) as update:
                    for batch, done in _batches(missing, engine, update):
                        made = record(
                            engine, batch, options.sampling, concurrency=options.concurrency, progress=done
                        )
                        shards.add(made)
                        known.update({each.question: each for each in made})
                        _judged(known, batch, judge)  # a verifier that raises is told of at once
                splits[split] = _judged(known, its, judge)
    if judge.errors:
        progress.say(f"{len(judge.errors)} answers count as wrong, as the verifier failed; {judge.errors[0]}")
    for split in LEARNED_FROM:
        check_there_is_something_to_learn(task, split, splits[split], problems[split])
    return Recorded(splits, len(judge.errors))


def _batches(missing: Sequence[TaskProblem], engine: Engine, update: Any) -> Iterable[tuple[list, Any]]:
    """Shards of problems, each with what is to be called as they are done."""
    counted = ("controllable_tokens_total", "path")
    start = engine.stats().totals.get(counted, 0)
    for begin in range(0, len(missing), SHARD):

        def done(answered: int, before: int = begin) -> None:
            update(before + answered, round(engine.stats().totals.get(counted, 0) - start))

        yield list(missing[begin : begin + SHARD]), done


def _judged(
    known: dict[str, ProblemRecord], problems: Sequence[TaskProblem], judge: Judge
) -> list[ProblemRecord]:
    return [judged(known[problem.question], problem, judge) for problem in problems]


def check_there_is_something_to_learn(
    task: Task, split: Split, records: Sequence[ProblemRecord], problems: Sequence[TaskProblem]
) -> None:
    """Raises TrainingError where all paths are right, or all wrong, and nothing can be told apart."""
    pairs = zip(records, problems, strict=True)
    paths = [(path, problem) for record, problem in pairs for path in record.paths]
    right = sum(path.right for path, _ in paths)
    if 0 < right < len(paths):
        return
    answered = [(path.answer, problem) for path, problem in paths if path.answer is not None]
    if right:
        advice = "take harder problems"
    elif answered:
        answer, problem = answered[0]
        advice = (
            f"one answered {answer[:80]!r} to {problem}, whose reference is {problem.answer!r}; take easier "
            "problems, or mend the verifier"
        )
    else:
        advice = "none of them came to an answer; raise --max-tokens, or see how the model ends its thinking"
    raise TrainingError(
        f"task {task.name}: there is nothing to learn, as all {len(paths)} paths recorded of the {split} "
        f"split are {'right' if right else 'wrong'}: {advice}"
    )


def check_there_are_steps(config: ControlConfig, split: Split, records: Sequence[ProblemRecord]) -> None:
    """Raises TrainingError where no path is long enough for a gate ever to look at it."""
    most = max(len(path.boundaries) for record in records for path in record.paths)
    if most < control.MIN_STEPS:
        raise TrainingError(
            f"a gate scores paths from their step {control.MIN_STEPS} on, and no recorded path of the "
            f"{split} split has more than {most}: name in {CONTROL_FILE} what ends a step of this model "
            f"(step_delimiters is {config.step_delimiters}), or do without a gate: train budget"
        )


# training


@dataclass(frozen=True)
class Kept:
    """Parts that are there already and stay. features: of the gate."""

    gate: GatePart | None = None
    budget: BudgetPart | None = None
    policy: PolicyPart | None = None
    features: tuple[str, ...] = GATE_FEATURES


def kept_parts(subject: Subject, parts: Sequence[Part]) -> Kept:
    """What is not among `parts`. Raises ControlConfigError when it does not fit: it is another model's."""
    config, source, size = subject.config, subject.source, subject.hidden_size
    gate = config.gate if Part.GATE not in parts else None
    budget = config.budget if Part.BUDGET not in parts else None
    policy = config.policy if Part.POLICY not in parts else None
    if source is None or (gate is None and budget is None and policy is None):
        return Kept()

    def foreign(what: str) -> ControlConfigError:
        again = "Train everything for this one: train all"
        return ControlConfigError(f"{source / CONTROL_FILE}: {what}; it is another model's. {again}")

    if config.data.get("model", subject.digest) != subject.digest:
        raise foreign(f"made for a model with digest {config.data['model']}, this one's is {subject.digest}")
    stay = {part.weights for part in (gate, budget, policy) if part is not None}
    check_digests(source, {name: digest for name, digest in config.digests.items() if name in stay})
    features = tuple(config.features.names) if gate is not None else GATE_FEATURES
    width = len(select(features, size))
    if gate is not None and gate.hidden_dim != width:
        raise foreign(f"gate.hidden_dim is {gate.hidden_dim}, this model's features are {width} long")
    if budget is not None and budget.input_dim != size:
        raise foreign(f"budget.input_dim is {budget.input_dim}, this model's hidden size is {size}")
    kept_gate = kept_budget = kept_policy = None
    if gate is not None:
        kept_gate = GatePart.of(PathGate.load(source / gate.weights, width, gate.threshold), gate)
    if budget is not None:
        predictor = BudgetPredictor.load(source / budget.weights, size, budget.hidden_dim)
        kept_budget = BudgetPart(predictor, budget.fast_threshold)
    if policy is not None:
        kept_policy = PolicyPart(load_policy(source, policy), policy.threshold)
    return Kept(kept_gate, kept_budget, kept_policy, features)


@dataclass(frozen=True)
class Made:
    """All parts, trained or kept, and the configuration that goes with them."""

    gate: GatePart | None
    budget: BudgetPart | None
    policy: PolicyPart | None
    config: ControlConfig

    def save(self, output: Path) -> None:
        """Write the weights, then control.json, each whole or not at all, and weights that control.json does
        not know are not loaded.
        """
        output.mkdir(parents=True, exist_ok=True)
        weights: list[tuple[PathGate | BudgetPredictor | PolicyNet, str]] = []
        if self.gate and self.config.gate:
            weights.append((self.gate.gate, self.config.gate.weights))
        if self.budget and self.config.budget:
            weights.append((self.budget.predictor, self.config.budget.weights))
        if self.policy and self.config.policy:
            weights.append((self.policy.policy.net, self.config.policy.weights))
        for part, name in weights:
            fresh = output / f"{name}.new"
            part.save(fresh)
            fresh.replace(output / name)
        digests = {name: weights_digest(output / name) for _, name in weights}
        self.config.model_copy(update={"digests": digests}).save(output)


def train_parts(
    parts: Sequence[Part],
    kept: Kept,
    subject: Subject,
    recorded: Recorded,
    task: Task,
    options: TrainingOptions,
    progress: Progress,
) -> Made:
    """Train these parts; each is made to work with the others, be they trained now or kept."""
    config, sampling = subject.config, options.sampling
    columns = select(kept.features, subject.hidden_size)
    splits = {split: with_columns(records, columns) for split, records in recorded.splits.items()}
    train, validation, calibration = (splits[split] for split in LEARNED_FROM)
    setting = ControlTarget(sampling.paths, sampling.token_cap, config.think_end is not None, options.recall)
    gate, budget, policy = kept.gate, kept.budget, kept.policy
    update: dict[str, Any] = {}
    data = {**config.data, **_data(parts, subject, recorded, task, options)}
    if Part.GATE in parts:
        for split in LEARNED_FROM:
            check_there_are_steps(config, split, splits[split])
        hidden = 2 * subject.hidden_size
        gate = control.train_gate_part(train, validation, calibration, setting, hidden, progress.say)
        update |= {"gate": gate.config(), "features": FeatureConfig(names=list(kept.features))}
        if not gate.promise.probability:
            progress.say(
                f"gate: no threshold keeps {setting.recall:.0%} of right paths on {len(calibration)} "
                "calibration problems, so nothing will be pruned; record more problems, or promise less with "
                "--recall"
            )
    if Part.BUDGET in parts:
        budget = control.train_budget_part(gate, train, validation, setting, progress.say)
        update["budget"] = budget.config(setting)
    figures: dict[str, Any] = {}
    if Part.POLICY in parts:
        if gate is None:
            raise TrainingError("a policy goes by the gate's scores, and there is no gate: train gate first")
        if any(control.is_all_fast(budget, records) for records in (calibration, validation)):
            said = (
                "the budget answers all problems without thinking, so there is nothing for a policy to decide"
            )
            if Part.BUDGET not in parts:
                raise TrainingError(f"{said}: do without one, or take harder problems")
            progress.say(f"policy: none; {said}")
        else:
            trained = control.train_policy_part(gate, budget, calibration, validation, setting, progress.say)
            policy = PolicyPart(trained.policy, trained.setting.threshold)
            update["policy"] = policy.config()
            figures["policy"] = trained.figures()
            data["policy_recipe"] = asdict(trained.recipe)
    elif kept.policy and "policy" in config.figures:
        figures["policy"] = config.figures["policy"]
    shown = [split for split in (Split.VALIDATION, Split.TEST) if split in splits]
    figures |= {split.value: control.figures(gate, budget, policy, splits[split], setting) for split in shown}
    update["data"] = data
    update["figures"] = figures
    return Made(gate, budget, policy, config.model_copy(update=update))


def _data(
    parts: Sequence[Part], subject: Subject, recorded: Recorded, task: Task, options: TrainingOptions
) -> dict[str, Any]:
    packages = ["controllable-inference", "torch", "transformers"]
    packages += ["reasoning-gym"] if task.name == SUITE else []
    recipes = {Part.GATE: asdict(control.GateRecipe()), Part.BUDGET: asdict(control.BudgetRecipe())}
    return {
        **{f"{part}_recipe": recipes[part] for part in parts if part in recipes},
        "model": subject.digest,
        "task": {"name": task.name, "shares": {split.value: share for split, share in task.shares.items()}},
        "recordings": {
            **asdict(options.sampling),
            "problems": {split.value: len(records) for split, records in recorded.splits.items()},
            "verifier_errors": recorded.errors,
        },
        "recall": options.recall,
        "versions": {name: _version(name) for name in packages},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
