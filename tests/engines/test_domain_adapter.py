"""Domain adapters: what they change for requests that name them, and that they change nothing else."""

import math
from types import SimpleNamespace

import pytest
import torch
from controllable_inference import ControllableInference, DomainAdapter, SamplingParams
from controllable_inference.core.config import ControlConfig
from controllable_inference.engines.adapters.tokens import add_rows
from controllable_inference.engines.limits import EngineLimits
from controllable_inference.errors import AdapterError, EngineBusy, RequestError
from tiny_engines import FAMILIES, make_model, make_tokenizer, save_checkpoint

SMALL = EngineLimits(kv_blocks=200)
TOKENS = ["diagnosis:", "treatment:"]


@pytest.fixture
def model(tmp_path):
    folder = save_checkpoint(tmp_path, make_model(), make_tokenizer())
    with ControllableInference.from_pretrained(folder, limits=SMALL) as model:
        yield model


def medical(**changes) -> DomainAdapter:
    return DomainAdapter(**{"domain": "medical", "special_tokens": TOKENS, "budget_scale": 1.5, **changes})


def texts(result):
    return [path.text for path in result.paths]


def test_the_calls_of_the_article(model):
    adapter = DomainAdapter(domain="medical", special_tokens=["diagnosis:", "treatment:"], budget_scale=1.5)
    model.add_adapter(adapter)
    result = model.generate("diagnosis: ", budget=0.5, paths=4, seed=1, adapter="medical")
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
    before = model.generate(prompt, sampling, paths=8, seed=7)
    model.add_adapter(medical())
    model.add_adapter(DomainAdapter("law", ["verdict:"]))
    after = model.generate(prompt, sampling, paths=8, seed=7)
    assert texts(after) == texts(before)
    assert (after.usage.prompt_tokens, after.usage.coefficient) == (len(prompt), 1.0)


def test_a_prompt_that_can_not_fit_is_refused_for_an_adapter_as_for_the_model(model):
    model.add_adapter(medical())
    for adapter in (None, "medical"):
        with pytest.raises(RequestError, match=r"^prompt: has more than 512 tokens, of 256 that fit"):
            model.generate("1" * 100_000, adapter=adapter)


def test_special_tokens_are_single_tokens_to_requests_that_name_the_adapter(model):
    model.add_adapter(medical())
    named = model.generate("diagnosis:1", SamplingParams(max_tokens=2), adapter="medical")
    assert named.usage.prompt_tokens == 2
    assert len(model.tokenizer.encode("diagnosis:")) == len("diagnosis:")


def test_only_requests_that_name_an_adapter_may_draw_its_tokens(model):
    model.add_adapter(medical())
    model.add_adapter(DomainAdapter("law", ["verdict:"]))
    adapters, known = model.engine.adapters, len(model.tokenizer)
    owners = [None, adapters["medical"], adapters["law"]]
    allowed = adapters.forbid_foreign(torch.zeros(3, known + 3), owners)[:, known:].isfinite()
    assert allowed.tolist() == [[False, False, False], [True, True, False], [False, False, True]]


@pytest.mark.parametrize("special", ["dose:", "="])  # a new token, and one that the model has
def test_a_special_token_ends_steps_of_requests_that_name_the_adapter_and_of_no_others(model, special):
    model.add_adapter(medical(special_tokens=[special]))
    model.add_adapter(DomainAdapter("law", ["verdict:"]))
    adapters, ends_step = model.engine.adapters, model.engine.vocabulary.ends_step
    (token,) = adapters["medical"].prompts.encode(special).slow
    drawn = {
        name: SimpleNamespace(tokens=[token], group=SimpleNamespace(adapter=name and adapters[name]))
        for name in ("medical", "law", None)
    }
    assert {name: ends_step(path) for name, path in drawn.items()} == {
        "medical": True,
        "law": False,
        None: False,
    }


def test_a_special_token_that_the_model_has_leaves_other_requests_steps_as_they_were(tmp_path):
    folder = save_checkpoint(tmp_path, make_model(), make_tokenizer(), ControlConfig())

    def steps(**named):
        paths = model.generate("1+2=", SamplingParams(max_tokens=60), paths=8, seed=3, **named).paths
        return [path.steps for path in paths]

    with ControllableInference.from_pretrained(folder, limits=SMALL) as model:
        before = steps()
        model.add_adapter(DomainAdapter("digits", list("0123456789")))
        assert sum(steps(adapter="digits")) > sum(before)
        assert steps() == before


def test_domains_read_and_write_their_own_tokens_even_where_the_texts_are_the_same(model):
    model.add_adapter(medical())
    model.add_adapter(DomainAdapter("law", ["verdict:", "treatment:"]))
    medicine, law = (model.engine.adapters[name] for name in ("medical", "law"))
    text, known = "diagnosis:treatment:verdict:", len(model.tokenizer)
    assert medicine.prompts.encode(text).slow == [
        known,
        known + 1,
        *model.tokenizer.encode("verdict:"),
    ]
    assert law.prompts.encode(text).slow == [*model.tokenizer.encode("diagnosis:"), known + 3, known + 2]
    for attached in (medicine, law):
        assert attached.detokenizer.decode(attached.prompts.encode(text).slow) == text


def test_a_domain_answers_as_before_once_another_is_there(model):
    def answers():
        sampling = SamplingParams(max_tokens=30)
        return texts(model.generate("a diagnosis: ", sampling, paths=4, seed=5, adapter="law"))

    model.add_adapter(DomainAdapter("law", ["verdict:"]))
    before = answers()
    model.add_adapter(medical())
    assert answers() == before


def test_what_a_path_writes_with_its_special_tokens_is_read_back(model):
    model.add_adapter(DomainAdapter("law", ["verdict:"]))
    model.add_adapter(medical(special_tokens=["dose:"]))
    head = model.model.get_output_embeddings().weight.data
    (dose,) = model.engine.adapters["medical"].token_ids
    head[dose] = head.abs().amax() * 100 * model.model.model.norm.weight.sign()
    whole = model.generate("12", SamplingParams(max_tokens=40), paths=8, seed=1, adapter="medical")
    assert any("dose:" in text for text in texts(whole))
    assert not any("verdict:" in text for text in texts(whole))


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


def test_a_domain_has_one_adapter(model):
    model.add_adapter(medical())
    with pytest.raises(AdapterError, match="adapter for 'medical' already"):
        model.add_adapter(medical(special_tokens=["dose:"]))
    read = model.engine.adapters["medical"].prompts.encode("dose:").slow
    assert len(read) == len("dose:")


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
    known = len(make_tokenizer())
    before = model.get_output_embeddings().weight[:known].detach().clone()
    ids = (known, known + 1)
    add_rows(model, range(known), ids)
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
