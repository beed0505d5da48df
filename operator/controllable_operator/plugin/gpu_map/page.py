"""The document as one HTML page: no script, nothing from elsewhere, everything of others escaped. Pure."""

from html import escape
from importlib.resources import files
from typing import Any

from controllable_operator.plugin.gpu_map.drawing import drawn, stylesheet
from controllable_operator.plugin.gpu_map.words import asks, colours, got, summary

Manifest = dict[str, Any]

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>GPUs of the cluster</title>
<style>
{style}
</style>
</head>
<body>
<main>
<h1>GPUs of the cluster</h1>
<p class="dim">{summary}</p>
<div class="scroll" tabindex="0" role="region" aria-label="GPUs by node">{picture}</div>
<h2>Models</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Models">
<table>
<thead>
<tr><th>Key</th><th>Model</th><th>Asks, each replica</th><th>Replicas</th><th>GPUs</th><th>Wrong</th></tr>
</thead>
<tbody>
{rows}
</tbody>
</table>
</div>
</main>
</body>
</html>
"""


def page(document: Manifest) -> str:
    """A page that opens from a disk."""
    shades = colours(document)
    return _PAGE.format(
        style=stylesheet() + (files(__package__) / "page.css").read_text("utf-8"),
        summary=escape(summary(document)),
        picture=drawn(document),
        rows="\n".join(_model(model, shades[model["key"]]) for model in document["models"]),
    )


def _model(model: Manifest, shade: str) -> str:
    gpus = "<br>".join(_gpus(replica) for replica in model["replicas"])
    key = f'<span class="key" style="background:{shade}">{model["key"]}</span>'
    return (
        f'<tr class="{model["health"]}"><td>{key}</td>'
        f"<td>{escape(model['namespace'])}/<b>{escape(model['name'])}</b></td><td>{escape(asks(model))}</td>"
        f"<td>{escape(got(model))}</td><td>{gpus}</td><td>{escape(model['message'])}</td></tr>"
    )


def _gpus(replica: Manifest) -> str:
    names = replica["gpus"] or [f"{replica['count']} GPUs"]
    which = ", ".join(f"<span>{escape(name)}</span>" for name in names)
    return f"{replica['tag']}: {escape(replica['node'])}, {which}"
