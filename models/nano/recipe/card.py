"""The model card: what models/nano is, where it came from, and its figures as measured."""

from pathlib import Path
from typing import Any

from controllable_inference.learn.budget import LEAST_SLOW
from controllable_inference.learn.problems import FAMILIES, UNSEEN_BY_CONTROL

from models.nano.recipe import traces
from models.nano.recipe.corpus import FAST_SHARE

_TEMPLATE = Path(__file__).with_name("card.md")
_REPLAY_COLUMNS = (
    "accuracy",
    "path_tokens",
    "paths",
    "pruned_share",
    "stopped_share",
    "right_path_recall",
    "solved_stay_solved",
)


def render(data: dict[str, Any], config: dict[str, Any], figures: dict[str, Any]) -> str:
    """The card in Markdown. data, figures and config: as in control.json."""
    recipe, cost = data["base_recipe"], data["base_cost"]
    split = "test" if "test" in figures else "validation"
    replayed = figures[split]
    gate, budget = config["gate"], config["budget"]
    return _TEMPLATE.read_text(encoding="utf-8").format(
        families=len(FAMILIES),
        names=", ".join(FAMILIES),
        unseen=" and ".join(UNSEEN_BY_CONTROL),
        gym=data["versions"]["reasoning-gym"],
        kinds=", ".join(f"{share:.0%} {kind.replace('_', ' ')}" for kind, share in traces.SHARES.items()),
        fast=FAST_SHARE,
        parameters=data["parameters"],
        **{
            name: recipe[name]
            for name in ("hidden_size", "layers", "heads", "steps", "decay_steps", "batch", "seed")
        },
        tokens=cost["tokens"] / 1e6,
        learned=cost["learned_tokens"] / 1e6,
        wall=cost["wall_seconds"] / 60,
        cpu=cost["cpu_seconds"] / 60,
        recordings=data["seconds"]["recordings"] / 60,
        control=data["seconds"]["control"] / 60,
        gate_problems=data["recordings"]["problems"]["gate"],
        calibration_problems=data["recordings"]["problems"]["calibration"],
        promised=gate["promised_probability"],
        recall=data["recall"],
        min_keep=gate["min_keep"],
        min_steps=gate["min_steps"],
        least_slow=LEAST_SLOW,
        base_paths=budget["base_paths"],
        base_tokens=budget["base_tokens"],
        **_policy(config["policy"], figures["policy"]),
        split=split,
        replayed=replayed["problems"],
        single=replayed["single_sample_accuracy"],
        fast_accuracy=replayed["fast_accuracy"],
        auc_rows="\n".join(
            f"| {share} | {value['pooled']:.2f} | {value['within']:.2f} |"
            for share, value in replayed["gate_auc"].items()
        ),
        spearman=replayed["budget"]["spearman_with_failure_rate"],
        budget_auc=replayed["budget"]["auc_of_mostly_wrong"],
        replay_rows="\n".join(
            f"| {name.replace('_', ' ')} | "
            + " | ".join(_cell(row, column) for column in _REPLAY_COLUMNS)
            + " |"
            for name, row in replayed["replay"].items()
        ),
        bound=1 - 0.98 * replayed["single_sample_accuracy"],
    )


def _policy(config: dict[str, Any], figures: dict[str, Any]) -> dict[str, Any]:
    """What the card says of the policy, and of the reward's weights that were tried first."""
    article, best = figures["validation_articles_reward"], figures["validation"]
    full = figures["validation_full_vote"]
    return {
        **figures["reward"],
        "trials": len(figures["tried"]),
        "policy_threshold": config["threshold"],
        "start_paths": config["start_paths"],
        "at_once": config["at_once"],
        **{
            f"{name}_{figure}": found[figure]
            for name, found in (("article", article), ("policy", best), ("full", full))
            for figure in ("accuracy", "tokens")
        },
    }


def _cell(row: dict[str, float], column: str) -> str:
    value = row[column]
    return f"{value:.1f}" if column in ("path_tokens", "paths") else f"{value:.1%}"
