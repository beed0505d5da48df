"""Print what the serving runtime depends on, from pyproject.toml: the layer of dependencies needs no code."""

import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]
served = [*extras["serving"], *extras["adapters"], *extras["tensor-parallel"]]
print("\n".join([*project["dependencies"], *served]))
