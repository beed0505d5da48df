"""An explanation as one HTML page: no script, nothing from elsewhere, everything of the model escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files

from controllable_inference.explain.drawing import drawn, highlights
from controllable_inference.explain.explanation import ExplainedPath, Explanation
from controllable_inference.explain.plain import cut, listed

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def page_of(explanation: Explanation) -> str:
    sheets = [(files(__package__) / name).read_text("utf-8") for name in ("tree.css", "page.css")]
    return _PAGE.format(
        title=escape(cut(explanation.question, 60) or "What led to the answer"),
        style="\n".join([*sheets, highlights(explanation)]),
        body="\n".join(
            [
                _answer(explanation),
                _figures(explanation),
                _vote(explanation),
                _tree(explanation),
                _paths(explanation),
            ]
        ),
    )


def _answer(explanation: Explanation) -> str:
    asked = (
        f'<p class="question"><bdi>{escape(explanation.question)}</bdi></p>' if explanation.question else ""
    )
    if explanation.votes:
        said = f"<h1><bdi>{escape(explanation.answer)}</bdi></h1>"
        said += f'<p class="dim">confidence {explanation.confidence:.0%}</p>'
    elif explanation.finish_reason == "cancelled":
        said = '<h1 class="dim">cancelled before there was a vote</h1>'
    else:
        said = '<h1 class="dim">no path came to an answer</h1>'
    return f"<header>{asked}{said}</header>"


def _figures(explanation: Explanation) -> str:
    usage = explanation.usage
    used, saved = usage.completion_tokens, usage.tokens_saved
    share = 100 * used / max(1, used + saved)
    tiles = [
        ("tokens used", f"{used:,}", f"about {saved:,} saved", share),
        (
            "budget coefficient",
            f"{usage.coefficient:.2f}",
            f"of 2, limited by {usage.limited_by}",
            50 * usage.coefficient,
        ),
        (
            "paths",
            f"{usage.paths_started}",
            f"{usage.paths_finished} finished, {usage.paths_pruned} pruned, {usage.paths_stopped} stopped",
            None,
        ),
        ("time", f"{usage.seconds:.2f} s", f"{usage.prompt_tokens:,} tokens of prompt", None),
    ]
    return '<dl class="tiles">' + "".join(_tile(*tile) for tile in tiles) + "</dl>"


def _tile(name: str, figure: str, note: str, share: float | None) -> str:
    bar = "" if share is None else f'<div class="meter"><i style="width:{min(share, 100):.1f}%"></i></div>'
    return f"<div><dt>{name}</dt><dd><b>{figure}</b><span>{escape(note)}</span>{bar}</dd></div>"


def _vote(explanation: Explanation) -> str:
    if not explanation.votes:
        return ""
    rows = []
    for ballot in explanation.votes:
        mark = '<span class="mark" title="the winner">✓</span>' if ballot.wins else ""
        paths = f"{'path' if len(ballot.paths) == 1 else 'paths'} {listed(ballot.paths)}"
        rows.append(
            f'<li class="{"wins" if ballot.wins else "loses"}">'
            f'<span class="what" title="{escape(ballot.answer)}">'
            f"<bdi>{escape(cut(ballot.answer, 60))}</bdi>{mark}</span>"
            f'<span class="meter"><i style="width:{100 * ballot.share:.1f}%"></i></span>'
            f"<span>{ballot.share:.0%}</span>"
            f'<span class="dim">weight {_figure(ballot.weight)}, {paths}</span></li>'
        )
    return f'<section><h2>Vote</h2><ol class="vote">{"".join(rows)}</ol></section>'


def _figure(weight: float) -> str:
    return f"{weight:.2f}" if weight >= 0.1 else f"{weight:.2g}"


def _tree(explanation: Explanation) -> str:
    if not explanation.paths:
        return ""
    key = (
        '<p class="dim key">A box is a step, its bar the score there; paths branch where they first differ. '
        '<span class="wins">Green</span> leads to the answer, grey was pruned, dashed was stopped when the '
        "request ended. Point at an end, or reach it by Tab, to see its way.</p>"
    )
    # the region scrolls, so it must be reachable by keyboard
    return (
        f'<section><h2>Paths</h2>{key}<div class="scroll" tabindex="0" role="region" '
        f'aria-label="Tree of paths">{drawn(explanation, links=True)}</div></section>'
    )


def _paths(explanation: Explanation) -> str:
    return f"<section><h2>Step by step</h2>{''.join(_path(path) for path in explanation.paths)}</section>"


def _path(path: ExplainedPath) -> str:
    said = (
        ""
        if path.answer is None
        else f' → <b title="{escape(path.answer)}"><bdi>{escape(cut(path.answer, 40))}</bdi></b>'
    )
    fate = "wins" if path.wins else path.fate
    steps = "".join(
        f'<li><span class="score">{"" if step.score is None else f"{step.score:.2f}"}</span>'
        f"<code><bdi>{escape(step.text.strip())}</bdi></code></li>"
        for step in path.steps
    )
    rest = path.rest.strip()
    if rest:
        steps += f'<li class="rest"><span class="score"></span><code><bdi>{escape(rest)}</bdi></code></li>'
    return (
        f'<details class="path {fate}"{" open" if path.shown else ""}><summary>'
        f'<span class="name">path {path.index}{said}</span>{_line([s.score for s in path.steps])}'
        f'<span class="dim">{path.fate}; {escape(path.why)}; {path.tokens} tokens, '
        f"{len(path.steps)} steps</span>"
        f'</summary><ol id="path-{path.index}">{steps}</ol></details>'
    )


def _line(scores: Sequence[float | None]) -> str:
    """The scores of a path as a small line; the dashes are at one half."""
    known = [score for score in scores if score is not None]
    if len(known) < 2:
        return '<svg class="spark" width="80" height="18" aria-hidden="true"></svg>'
    points = " ".join(
        f"{1 + at * 78 / (len(known) - 1):.1f},{17 - 16 * score:.1f}" for at, score in enumerate(known)
    )
    label = f"scores from {known[0]:.2f} to {known[-1]:.2f}"
    return (
        f'<svg class="spark" width="80" height="18" role="img" aria-label="{label}"><title>{label}</title>'
        f'<path d="M0 9H80"/><polyline points="{points}"/></svg>'
    )
