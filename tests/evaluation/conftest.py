import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[1] / name) for name in ("engine", "training")]  # tiny_engines, talker
