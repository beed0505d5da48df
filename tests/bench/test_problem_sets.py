from collections import Counter

import pytest
from controllable_inference.bench.problem_sets import CHUNK, GREEDY, TEST, VALIDATION, Scale, parts_of, spread
from controllable_inference.learn.problems import CONTROL_FAMILIES, Split, cells

SCALE = Scale(problems=60, seeds=3, repeated=24, validation=24, outside=8, live=12)


@pytest.fixture(scope="module")
def parts():
    return parts_of(SCALE)


def test_cells_take_turns_so_that_any_first_part_is_spread_evenly():
    drawn_from = cells(CONTROL_FAMILIES)
    problems = spread(Split.TEST, 60, drawn_from)
    assert len({p.question for p in problems}) == 60
    first = [(p.family, p.level) for p in problems[: len(drawn_from)]]
    assert first == drawn_from
    assert set(Counter((p.family, p.level) for p in problems).values()) <= {2, 3}


def test_a_cell_that_has_few_problems_is_made_up_for_by_the_others():
    problems = spread(Split.TEST, 90, [("count_bits", 0), ("gcd", 2)])
    counts = Counter(p.family for p in problems)
    assert sum(counts.values()) == 90
    assert counts["count_bits"] < 45 < counts["gcd"]


def test_every_split_is_used_for_what_it_is_there_for(parts):
    for part in parts:
        wanted = Split.VALIDATION if part.name == VALIDATION else Split.TEST
        assert {problem.split for problem in part.problems} == {wanted}, part.name


def test_further_seeds_sample_the_first_problems_anew(parts):
    first, second, third = (part for part in parts if part.name == TEST)
    assert second.problems == third.problems == first.problems[:24]
    assert len({part.sampling_seed(3) for part in (first, second, third)}) == 3


def test_no_two_problems_share_random_numbers(parts):
    seeds = [part.sampling_seed(number) for part in parts for number in range(len(part.problems))]
    assert len(set(seeds)) == len(seeds)


def test_greedy_decoding_sees_the_problems_of_the_first_seed(parts):
    (greedy,) = (part for part in parts if part.name == GREEDY)
    first = next(part for part in parts if part.name == TEST)
    assert (greedy.problems, greedy.paths, greedy.temperature) == (first.problems, 1, 0.0)


def test_chunks_are_all_of_a_part_and_alike(parts):
    part = next(part for part in parts if part.name == TEST)
    chunks = part.chunks()
    assert sorted(n for chunk in chunks for n in chunk.numbers) == list(range(60))
    assert max(len(chunk.numbers) for chunk in chunks) <= CHUNK
    chunk = chunks[1]
    assert chunk.problems[0] == part.problems[chunk.numbers[0]]
    assert chunk.seeds[0] == part.sampling_seed(chunk.numbers[0])


def test_a_smaller_evaluation_keeps_its_proportions():
    half = Scale().with_problems(504)
    assert (half.problems, half.repeated, half.validation, half.live) == (504, 120, 96, 72)
    assert Scale().with_problems(1).repeated == 1
