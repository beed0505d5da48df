"""Files that ship with the package: the Triton model repository, the nano model, the schemas.

In a wheel they lie in `controllable_inference/data`; in a checkout at the repository's root.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_ROOTS = (_PACKAGE / "data", _PACKAGE.parents[1])


def resource(name: str) -> Path | None:
    """The folder or file called `name` (for example `models/nano`), None where it isn't shipped."""
    return next((root / name for root in _ROOTS if (root / name).exists()), None)
