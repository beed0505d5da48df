"""The committed model: what a person gets who has just cloned the repository."""

from pathlib import Path

import pytest
from controllable_inference import ControllableInference, RequestBudget, SamplingParams
from controllable_inference.learn.problems import Split, draw_split
from transformers import AutoModelForCausalLM, AutoTokenizer

NANO = Path(__file__).parents[2] / "models" / "nano"
QUESTION = [
    {"role": "user", "content": "How many 1 bits are there in the binary representation of the number 45?"}
]


@pytest.fixture(scope="module")
def nano():
    with ControllableInference.from_pretrained(NANO) as model:
        yield model


def test_it_answers_by_voting_over_paths_that_it_scores(nano):
    result = nano.generate(QUESTION, seed=1)
    assert result.answer == "4"
    assert result.usage.paths_started > 1
    assert all(path.score is not None for path in result.paths)
    assert "45/2=22 r1 n1" in result.text


def test_without_effort_it_does_not_think(nano):
    result = nano.generate(QUESTION, budget=RequestBudget(effort="none"), seed=1)
    assert result.usage.paths_started == 1
    assert result.usage.completion_tokens < 5
    assert "/2=" not in result.text


def test_it_grants_hard_questions_more_than_easy_ones(nano):
    problems = draw_split(Split.TEST, 2, seed=99)

    def coefficient(family, level):
        asked = [p for p in problems if p.family == family and p.level == level]
        one = SamplingParams(max_tokens=1, seed=1)  # what is granted is known before anything is written
        results = [nano.generate([{"role": "user", "content": p.question}], one) for p in asked]
        return sum(result.usage.coefficient for result in results) / len(results)

    assert coefficient("chain_sum", 2) > 2 * coefficient("count_bits", 0)


def test_it_is_a_plain_checkpoint_for_transformers():
    tokenizer, model = AutoTokenizer.from_pretrained(NANO), AutoModelForCausalLM.from_pretrained(NANO)
    inputs = tokenizer.apply_chat_template(
        QUESTION, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    output = model.generate(**inputs, do_sample=False, max_new_tokens=200)
    said = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert said.endswith("</think>4")


def test_its_card_states_the_figures_of_its_control_file(nano):
    card = (NANO / "README.md").read_text()
    for system, figures in nano.control.figures["test"]["replay"].items():
        assert f"| {system.replace('_', ' ')} | {figures['accuracy']:.1%} |" in card


def test_sampling_is_repeatable(nano):
    first, again = (nano.generate(QUESTION, SamplingParams(seed=3)) for _ in range(2))
    assert [path.text for path in first.paths] == [path.text for path in again.paths]
