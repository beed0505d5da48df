"""A task of your own: problems, and a verifier that needs no reference answers.

    controllable-inference train all models/nano --task examples.gcd_task:task --output ./control

The verifier is asked once for each different answer. It must say True or False of anything a model may
write, so it does not trust an answer to be a number.

The nano model has been trained on such questions. A hash of their text tells which ones: with the shares of
its own suite, control learns from none of them. A task that the model has never seen leaves `shares` out.
"""

import math
import random

from controllable_inference.learn.problems import SUITE_SHARES
from controllable_inference.learn.task import Task, TaskProblem


def task() -> Task:
    """2,000 greatest common divisors, worded as the nano model knows them."""
    draw = random.Random(1)
    problems = []
    for number in range(2000):
        level = number % 2
        numbers = [draw.randrange(2, (100, 500)[level]) for _ in range(2)]
        question = (
            f"Find the Greatest Common Divisor (GCD) of these numbers: {numbers[0]}, {numbers[1]}. "
            "Give only the GCD as your final answer."
        )
        problems.append(
            TaskProblem(question, id=f"gcd-{number}", family="gcd", level=level, metadata=numbers)
        )
    return Task("gcd", problems, verifier=is_their_divisor, shares=SUITE_SHARES)


def is_their_divisor(problem: TaskProblem, answer: str) -> bool:
    """Whether an answer is the greatest common divisor of the problem's numbers."""
    return answer.strip().isdecimal() and int(answer) == math.gcd(*problem.metadata)
