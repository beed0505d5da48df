"""What a reasoner loses when it skips layers: whether a budget should buy depth.

    python benchmarks/layer_depth.py models/nano

Greedy answers to validation problems with every layer, and with each single layer left out, on the same
engine. Skipping a layer saves at most its share of the arithmetic; what it costs is printed beside that.
"""

import argparse

import torch
from controllable_inference.core.baselines import SingleSample
from controllable_inference.core.request import SamplingParams
from controllable_inference.learn.driver import ask_all
from controllable_inference.learn.problems import CONTROL_FAMILIES, Split, cells, draw_split, is_correct
from controllable_inference.learn.statistics import bootstrap
from controllable_inference.model import ControllableInference

TOKEN_CAP = 512
SEED = 78


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--per-cell", type=int, default=8, help="problems of each family and level")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    problems = draw_split(Split.VALIDATION, arguments.per_cell, SEED, cells(CONTROL_FAMILIES))
    greedy = [SamplingParams(seed=0, temperature=0.0)] * len(problems)
    with ControllableInference.from_pretrained(arguments.model) as model:
        depth = model.model.config.num_hidden_layers
    for skipped in (None, *range(depth)):
        with ControllableInference.from_pretrained(arguments.model) as model:
            if skipped is not None:
                del model.model.model.layers[skipped]
                model.model.config.num_hidden_layers = depth - 1
            questions = [problem.question for problem in problems]
            results, _ = ask_all(model.engine, questions, greedy, controller=SingleSample(TOKEN_CAP))
        right = [float(is_correct(*pair)) for pair in zip(problems, (r.answer for r in results), strict=True)]
        accuracy = bootstrap(right)
        what = "all layers" if skipped is None else f"without layer {skipped}"
        print(f"{what}: {accuracy.mean:.1%} [{accuracy.low:.1%}, {accuracy.high:.1%}] of {len(problems)}")


if __name__ == "__main__":
    main()
