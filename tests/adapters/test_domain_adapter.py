"""Domain adapters: what they change for requests that name them, and that they change nothing else."""

import math

import pytest
import torch
from controllable_inference import ControllableInference, DomainAdapter, SamplingParams
from controllable_inference.adapters.tokens import add_tokens
from controllable_inference.engine.engine import EngineConfig
from controllable_inference.errors import AdapterError, EngineBusy, RequestError
from tiny_engines import FAMILIES, make_model, make_tokenizer, save_checkpoint

SMALL = EngineConfig(kv_blocks=200)
TOKENS = ["diagnosis:", "treatment:"]


@pytest.fixture
def model(tmp_path):
    folder = save_checkpoint(tmp_path, make_model(), make_tokenizer())
    with ControllableInference.from_pretrained(folder, engine=SMALL) as model:
        yield model


def medical(**changes) -> DomainAdapter:
    return DomainAdapter(**{"domain": "medical", "special_tokens": TOKENS, "budget_scale": 1.5, **changes})


def texts(result):
    return [path.text for path in result.paths]


def test_the_calls_of_the_article(model):
    adapter = DomainAdapter(domain="medical", special_tokens=["diagnosis:", "treatment:"], budget_scale=1.5)
    model.add_adapter(adapter)
    result = model.generate("diagnosis: ", budget=0.5, max_paths=4, seed=1, adapter="medical")
    assert result.usage.coefficient == 0.75


@pytest.mark.parametrize(
    ("asked", "granted"), [(0.5, 0.75), (1.8, 2.0), (0.0, 0.0), ("low", 0.75), (None, 1.5)]
)
def test_the_budget_scale_multiplies_the_coefficient_up_to_2(model, asked, granted):
    model.add_adapter(medical())
    sampling = SamplingParams(max_tokens=2)
    named = model.generate("1+2=", sampling, budget=asked, max_paths=1, adapter="medical")
    assert named.usage.coefficient == granted


def test_requests_that_name_no_adapter_draw_what_they_drew_before(model):
    prompt, sampling = "is this a diagnosis: ", SamplingParams(max_tokens=30)
    before = model.generate(prompt, sampling, max_paths=8, seed=7)
    model.add_adapter(medical())
    model.add_adapter(DomainAdapter("law", ["verdict:"]))
    after = model.generate(prompt, sampling, max_paths=8, seed=7)
    assert texts(after) == texts(before)
    assert (after.usage.prompt_tokens, after.usage.coefficient) == (len(prompt), 1.0)


def test_special_tokens_are_single_tokens_to_requests_that_name_the_adapter(model):
    model.add_adapter(medical())
    assert len(model.tokenizer.encode("diagnosis:")) == 1
    named = model.generate("diagnosis:1", SamplingParams(max_tokens=2), adapter="medical")
    assert named.usage.prompt_tokens == 2


def test_only_requests_that_name_an_adapter_may_draw_its_tokens(model):
    model.add_adapter(medical())
    model.add_adapter(DomainAdapter("law", ["verdict:"]))
    adapters, size = model.engine.adapters, len(model.tokenizer)
    owners = [None, adapters["medical"], adapters["law"]]
    allowed = adapters.forbid_foreign(torch.zeros(3, size), owners)[:, -3:].isfinite()
    assert allowed.tolist() == [[False, False, False], [True, True, False], [False, False, True]]


def test_a_special_token_ends_a_step(model):
    model.add_adapter(medical())
    ends_step = model.engine.vocabulary.delimiters.ends_step
    begin, *_ = model.tokenizer.encode("diagnosis:")
    assert ends_step(begin)
    assert not ends_step(model.tokenizer.encode("d")[0])


def test_an_adapter_can_be_the_default_which_a_request_can_decline(model):
    model.add_adapter(medical(), default=True)
    sampling = SamplingParams(max_tokens=2)
    assert model.generate("1", sampling, budget=1, max_paths=1).usage.coefficient == 1.5
    assert model.generate("1", sampling, budget=1, max_paths=1, adapter="").usage.coefficient == 1


def test_an_adapter_nobody_added_is_refused_by_name(model):
    model.add_adapter(medical())
    with pytest.raises(
        RequestError, match=r"no adapter 'law' was added to this model; there is medical"
    ) as no:
        model.generate("1", adapter="law")
    assert no.value.field == "adapter"


def test_a_domain_has_one_adapter_and_a_token_one_domain(model):
    model.add_adapter(medical())
    with pytest.raises(AdapterError, match="adapter for 'medical' already"):
        model.add_adapter(medical(special_tokens=["dose:"]))
    with pytest.raises(AdapterError, match="'treatment:' is another adapter's"):
        model.add_adapter(DomainAdapter("dental", ["treatment:"]))
    assert len(model.tokenizer.encode("dose:")) == len("dose:")


def test_no_adapter_is_added_while_a_request_runs(model):
    stream = model.stream("1+2=", seed=1)
    next(stream)
    with pytest.raises(EngineBusy, match="1 requests are in the engine"):
        model.add_adapter(medical())
    stream.close()
    model.generate("1", SamplingParams(max_tokens=1), max_paths=1)  # by then the other has been cancelled
    model.add_adapter(medical())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"domain": "not a name"}, "domain must be a name"),
        ({"special_tokens": "diagnosis:"}, "must be a list"),
        ({"special_tokens": ["a", " "]}, "something in them"),
        ({"special_tokens": ["a", "a"]}, "differ"),
        ({"budget_scale": 0}, "greater than 0, got 0"),
        ({"budget_scale": math.inf}, "greater than 0, got inf"),
        ({"budget_scale": "1.5"}, "greater than 0, got '1.5'"),
    ],
)
def test_values_that_do_not_fit_are_refused(change, message):
    with pytest.raises(AdapterError, match=message):
        medical(**change)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("rows", [80, 100])  # the tokenizer's own number, and a matrix with rows to spare
def test_a_new_row_is_the_mean_so_that_its_token_is_hardly_ever_drawn(family, tied, rows):
    model = make_model(family, vocab_size=rows, tie_word_embeddings=tied)
    tokenizer = make_tokenizer()
    known = len(tokenizer)
    before = model.get_output_embeddings().weight[:known].detach().clone()
    ids = add_tokens(model, tokenizer, [*TOKENS, "</think>"])
    assert ids == (known, known + 1)  # "</think>" was there already, and keeps its row
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert (head is embedding) == tied
    assert len(embedding) == model.config.vocab_size == max(rows, known + 2)
    assert torch.equal(head[:known], before)
    for id_ in ids:
        assert torch.allclose(head[id_], before.mean(0))
        assert torch.allclose(embedding[id_], embedding[:known].mean(0))
    logits = model(torch.arange(known)[None]).logits[0]
    probabilities = torch.softmax(logits[:, : known + 2], dim=-1)
    assert probabilities[:, list(ids)].max() <= 1 / known
