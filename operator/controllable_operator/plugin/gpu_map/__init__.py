"""`gpus`: which GPU is whose, and what connects them; for a terminal, a machine and a browser.

`boards.py` tells what connects each node's GPUs, `document.py` whose they are: the document of `-o json`,
from which `text.py`, `drawing.py` and `page.py` make all else. Only `read.py` is not pure.
"""

from controllable_operator.plugin.gpu_map.document import build
from controllable_operator.plugin.gpu_map.drawing import picture
from controllable_operator.plugin.gpu_map.page import page
from controllable_operator.plugin.gpu_map.read import read
from controllable_operator.plugin.gpu_map.text import render

__all__ = ["build", "page", "picture", "read", "render"]
