"""The tables of values in the charts' READMEs, from their schemas: `python -m dev.chart_values [--check]`."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

_CHARTS = Path(__file__).parents[1] / "charts"
_HEADER = "<!-- Generated from Chart.yaml, values.schema.json and values.yaml by `make generate`. -->\n"


def rows(schema: dict[str, Any], values: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """(value, default, meaning) of everything that can be set."""
    for name, field in schema.get("properties", {}).items():
        where = f"{path}.{name}" if path else name
        default = values.get(name) if isinstance(values, dict) else None
        if "properties" not in field:
            shown = "" if default in (None, "") else f"`{json.dumps(default)}`"
            yield where, shown, field.get("description", "")
        yield from rows(field, default, where)
        yield from rows(field.get("items", {}), None, f"{where}[]")


def readme(chart: Path) -> str:
    """The README of a chart."""
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    schema = json.loads((chart / "values.schema.json").read_text())
    values = yaml.safe_load((chart / "values.yaml").read_text())
    lines = [
        f"# {about['name']}\n",
        f"{about['description']}\n",
        "| value | default | meaning |",
        "|---|---|---|",
    ]
    lines += [f"| `{where}` | {default} | {meaning} |" for where, default, meaning in rows(schema, values)]
    return _HEADER + "\n".join(lines) + "\n"


def readmes() -> dict[Path, str]:
    """What each chart's README must hold."""
    return {path.parent / "README.md": readme(path.parent) for path in sorted(_CHARTS.glob("*/Chart.yaml"))}


def main() -> int:
    """Write the READMEs, or with --check only say which of them differ (exit status 1)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if one is not up to date")
    check = parser.parse_args().check
    stale = {path: text for path, text in readmes().items() if not path.exists() or path.read_text() != text}
    for path, text in stale.items():
        print(f"{path.relative_to(_CHARTS.parent)}: {'differs, run `make generate`' if check else 'written'}")
        if not check:
            path.write_text(text)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
