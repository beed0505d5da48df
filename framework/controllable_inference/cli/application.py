"""The application that all commands belong to, and what they share."""

from typing import Any

import typer

app = typer.Typer(
    name="controllable-inference",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""Serve reasoning models and keep their thinking under control.

    Try it on this machine, without a cluster:

    - `controllable-inference serve examples/nano.yaml` — serve the shipped nano model
    - `controllable-inference ask "Spell this word backward (example: sun -> nus): planet"` — in another
      terminal: answer, paths, tokens
    - `curl http://127.0.0.1:8080/v1/models` — any OpenAI client works: base URL `http://127.0.0.1:8080/v1`
    """,
)


def say(message: str) -> None:
    """For people: on standard error, as standard output may be piped on."""
    typer.echo(message, err=True)


def given(**options: Any) -> dict[str, Any]:
    """Options that were given."""
    return {name: value for name, value in options.items() if value is not None}
