"""Write what follows from the code: `python -m controllable_operator.api.generate [--check]`.

The CRD from the typed API, the dashboard and rules that concern more than one model, and the table of memory.
"""

import argparse
import json
import sys
from pathlib import Path

import yaml

from controllable_operator.api.crd import custom_resource_definition
from controllable_operator.api.monitoring import Slo
from controllable_operator.desired.dashboard import dashboard
from controllable_operator.desired.queries import MODEL_LABEL
from controllable_operator.desired.rules import fleet_alerts
from controllable_operator.placement.table import with_table

_ROOT = Path(__file__).parents[3]
_GPU_DOCS = _ROOT / "docs/gpu-placement.md"
_HEADER = "# Generated from operator/controllable_operator/{} by `make generate`; edits are overwritten.\n"
# Removing a CRD removes every model of the cluster, so the chart keeps it unless told otherwise.
_KEEP = """metadata:
  {{- if .Values.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
"""


def generated_files() -> dict[Path, str]:
    """What each generated file must hold, by path."""
    manifest = custom_resource_definition()
    text = _HEADER.format("api") + _yaml(manifest)
    name = f"{manifest['spec']['group']}_{manifest['spec']['names']['plural']}.yaml"
    return {
        _ROOT / "crds" / name: text,
        _ROOT / "charts/controllable-crds/templates" / name: text.replace("metadata:\n", _KEEP, 1),
        _ROOT / "dashboards/controllable-models.json": _dashboard(),
        _ROOT / "alerts/fleet.rules.yaml": _fleet_rules(),
        _GPU_DOCS: with_table(_GPU_DOCS.read_text()),
    }


def _dashboard() -> str:
    """One dashboard for all models, to be imported by hand where the operator makes none."""
    document = dashboard(
        title="ControllableModels",
        uid="controllable-models",
        select=f'namespace="$namespace",{MODEL_LABEL}="$model"',
        slo=Slo(),
        picked=True,
    )
    return json.dumps(document, indent=2) + "\n"


def _fleet_rules() -> str:
    """Alerts by the operator's own metrics, in the form of Prometheus' rule files."""
    groups = [{"name": "controllable-fleet", "rules": fleet_alerts()}]
    return _HEADER.format("desired/rules.py") + _yaml({"groups": groups})


def _yaml(document: dict[str, object]) -> str:
    return yaml.safe_dump(document, sort_keys=False, width=110, allow_unicode=True)


def main() -> int:
    """Write the files, or with --check only say which of them differ (exit status 1)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if a file is not up to date"
    )
    check = parser.parse_args().check
    stale = [
        path for path, text in generated_files().items() if not path.exists() or path.read_text() != text
    ]
    for path in stale:
        print(f"{path.relative_to(_ROOT)}: {'differs, run `make generate`' if check else 'written'}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(generated_files()[path])
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
