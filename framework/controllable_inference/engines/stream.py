"""What a client sees of a request while it runs: the leading path's text, split into reasoning and answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from controllable_inference.core.events import Delta, Event, Leading
from controllable_inference.engines.path import Path, PathGroup


def visible(text: str, think_end: str | None, stops: Sequence[str], ended: bool) -> tuple[str, str]:
    """(reasoning, content) of a path's text that later tokens can't take back.

    While a path runs, what may be the beginning of `think_end` or of a stop string is held back, and so is
    white space at the content's end.
    """
    reasoning, found, rest = text.partition(think_end) if think_end else ("", "-", text)
    if not found:
        return (reasoning if ended else _hold_back(reasoning, [think_end or ""])), ""
    return reasoning, (rest if ended else _hold_back(rest, stops)).strip()


def _hold_back(text: str, ends: Sequence[str]) -> str:
    beginnings = (end[:n] for end in ends for n in range(1, min(len(end), len(text) + 1)))
    held = max((len(one) for one in beginnings if text.endswith(one)), default=0)
    return text[: len(text) - held]


def stream(group: PathGroup, think_end: str | None) -> Iterator[Event]:
    """Events for whatever is new since the last call.

    The leading path is the lowest-numbered one that still may win; it changes only when it is pruned. Of a
    request with one path, the answer streams too, for no vote can change it.
    """
    assert group.plan is not None
    alive = [p for p in group.paths if p.fate in (None, "kept")]
    if not alive:
        return
    leader = alive[0]
    if group.leader != leader.index:
        group.leader = leader.index
        yield Leading(leader.index)
    think_end = think_end if group.plan.mode == "slow" else None
    shown = group.paths if group.budget.trace == "full" else [leader]
    for path in shown:
        yield from _deltas(group, path, think_end, answers=group.plan.is_single)


def _deltas(group: PathGroup, path: Path, think_end: str | None, answers: bool) -> Iterator[Event]:
    if path.running and path.growing is None:
        return
    text = path.text if path.growing is None or not path.running else path.growing.text
    reasoning, content = visible(text, think_end, group.sampling.stop, not path.running)
    sent_reasoning, sent_content = group.sent.get(path.index, (0, 0))
    if len(reasoning) > sent_reasoning:
        yield Delta(path.index, "reasoning", reasoning[sent_reasoning:])
    if answers and len(content) > sent_content:
        yield Delta(path.index, "answer", content[sent_content:])
    else:
        content = content[:sent_content]
    group.sent[path.index] = (max(len(reasoning), sent_reasoning), max(len(content), sent_content))
