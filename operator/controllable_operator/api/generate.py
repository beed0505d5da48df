"""Write the CRD from the typed API: `python -m controllable_operator.api.generate [--check]`."""

import argparse
import sys
from pathlib import Path

import yaml

from controllable_operator.api.crd import custom_resource_definition

_ROOT = Path(__file__).parents[3]
_HEADER = "# Generated from operator/controllable_operator/api by `make generate`; edits are overwritten.\n"
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
    text = _HEADER + yaml.safe_dump(manifest, sort_keys=False, width=110, allow_unicode=True)
    name = f"{manifest['spec']['group']}_{manifest['spec']['names']['plural']}.yaml"
    return {
        _ROOT / "crds" / name: text,
        _ROOT / "charts/controllable-crds/templates" / name: text.replace("metadata:\n", _KEEP, 1),
    }


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
