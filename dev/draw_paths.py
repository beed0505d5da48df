"""Draw one request's paths as lanes: `python -m dev.draw_paths [QUESTION] > docs/paths.svg`.

A lane is a path, its length is tokens, a dot is a step boundary with the gate's score as its shade; pruned
and stopped lanes are grey, the winner's is green. The figures are those of the run, nothing is drawn by hand.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from html import escape

from controllable_inference import ControllableInference
from controllable_inference.engine.events import Done, PathGated
from controllable_inference.engine.request import RequestBudget, Result

QUESTION = "Solve the following multiplication: 47 * 83. Give only the result as your final answer."
LEFT, TOP, LANE, WIDTH = 70, 64, 22, 900
COLOURS = {"kept": "#2563eb", "pruned": "#9ca3af", "stopped": "#9ca3af", "cancelled": "#9ca3af"}


def lanes(question: str, result: Result, gated: dict[int, list[PathGated]]) -> str:
    """The SVG text."""
    scale = (WIDTH - LEFT - 250) / max(path.tokens for path in result.paths)
    rows = []
    for row, path in enumerate(result.paths):
        y = TOP + row * LANE
        end = LEFT + path.tokens * scale
        wins = path.fate == "kept" and path.answer == result.answer
        colour = "#16a34a" if wins else COLOURS[path.fate]
        rows.append(
            f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end" fill="#6b7280">path {path.index}</text>'
        )
        rows.append(
            f'<line x1="{LEFT}" y1="{y}" x2="{end:.1f}" y2="{y}" stroke="{colour}" stroke-width="3"/>'
        )
        for gate in gated[path.index]:
            rows.append(
                f'<circle cx="{LEFT + gate.tokens * scale:.1f}" cy="{y}" r="4" '
                f'stroke="{colour}" fill="{colour}" fill-opacity="{gate.score:.2f}">'
                f"<title>step {gate.steps}: {gate.score:.2f}</title></circle>"
            )
        score = "" if path.score is None else f" at {path.score:.2f}"
        said = (
            f"answers {path.answer}"
            if path.fate == "kept"
            else f"{path.fate}{score} after {path.tokens} tokens"
        )
        rows.append(f'<text x="{end + 12:.1f}" y="{y + 4}" fill="{colour}">{escape(said)}</text>')
    usage = result.usage
    height = TOP + len(result.paths) * LANE + 34
    summary = (
        f"answer {result.answer} · {usage.paths_started} paths started, {usage.paths_pruned} pruned, "
        f"{usage.paths_stopped} stopped · {usage.completion_tokens} tokens used, "
        f"about {usage.tokens_saved} saved · coefficient {usage.coefficient:.2f}"
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            'font-family="system-ui, sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
            f'<text x="16" y="24" font-size="14" font-weight="600" fill="#111827">{escape(question)}</text>',
            '<text x="16" y="44" fill="#6b7280">each lane a path, its length in tokens; '
            "each dot a step, as dark as the gate's score</text>",
            *rows,
            f'<text x="16" y="{height - 14}" fill="#111827">{escape(summary)}</text>',
            "</svg>",
        ]
    )


def main() -> None:
    question = sys.argv[1] if len(sys.argv) > 1 else QUESTION
    gated: dict[int, list[PathGated]] = defaultdict(list)
    with ControllableInference.from_pretrained("models/nano") as model:
        for event in model.stream(
            [{"role": "user", "content": question}], budget=RequestBudget(effort="high"), seed=1
        ):
            if isinstance(event, PathGated):
                gated[event.path].append(event)
            elif isinstance(event, Done):
                print(lanes(question, event.result, gated))


if __name__ == "__main__":
    main()
