"""LoRA weights: the requests of a domain get them, others in the same batch do not."""

import sys
import threading

import pytest
import torch
from controllable_inference import ControllableInference, DomainAdapter, SamplingParams
from controllable_inference.engines.limits import EngineLimits
from controllable_inference.errors import AdapterError
from peft import LoraConfig, get_peft_model
from tiny_engines import make_model, make_tokenizer, save_checkpoint

GREEDY = SamplingParams(temperature=0, max_tokens=24)
LINEAR = ["q_proj", "v_proj", "o_proj", "up_proj"]


@pytest.fixture
def checkpoint(tmp_path):
    return save_checkpoint(tmp_path / "base", make_model(), make_tokenizer())


def train(folder, *, seed=0, base=None, embeddings=False, **changes):
    """A LoRA folder as a fine-tuning script leaves it behind, with random weights instead of trained ones."""
    config = LoraConfig(**{"r": 4, "target_modules": LINEAR, "init_lora_weights": False, **changes})
    base = base or make_model()
    torch.manual_seed(seed)
    trained = get_peft_model(base, config)
    trained.save_pretrained(folder, save_embedding_layers=embeddings)
    return trained.eval()


def load(checkpoint):
    return ControllableInference.from_pretrained(checkpoint, limits=EngineLimits(kv_blocks=200))


def continued(model, prompt, **extra):
    ids = torch.tensor([make_tokenizer().encode(prompt)])
    out = model.generate(
        input_ids=ids, do_sample=False, max_new_tokens=GREEDY.max_tokens, pad_token_id=0, **extra
    )
    return make_tokenizer().decode(out[0, ids.shape[1] :])


def test_each_request_of_a_batch_gets_the_weights_of_its_own_domain(checkpoint, tmp_path):
    prompt = "12+34="
    expected = {
        None: continued(make_model(), prompt),
        "medical": continued(train(tmp_path / "medical", seed=1), prompt),
        "law": continued(
            train(tmp_path / "law", seed=2, r=2, target_modules=["q_proj", "down_proj"]), prompt
        ),
    }
    assert len(set(expected.values())) == 3
    with load(checkpoint) as model:
        for domain in ("medical", "law"):
            model.add_adapter(DomainAdapter(domain, peft_path=tmp_path / domain))
        got: dict[str | None, str] = {}
        threads = [
            threading.Thread(
                target=lambda d=d: got.update({d: model.generate(prompt, GREEDY, adapter=d).text})
            )
            for d in expected
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for domain, text in expected.items():
        assert text.startswith(got[domain]), domain
        assert got[domain]


@pytest.mark.parametrize("domain", ["train", "items", "layers", "0"])
def test_a_domain_may_be_called_what_python_or_peft_call_something_else(checkpoint, tmp_path, domain):
    prompt = "12+34="
    first, second = (continued(train(tmp_path / str(seed), seed=seed), prompt) for seed in (1, 2))
    with load(checkpoint) as model:
        model.add_adapter(DomainAdapter("medical", peft_path=tmp_path / "1"))
        model.add_adapter(DomainAdapter(domain, peft_path=tmp_path / "2"))
        for name, expected in (("medical", first), (domain, second)):
            text = model.generate(prompt, GREEDY, adapter=name).text
            assert text
            assert expected.startswith(text)


def test_rows_that_were_trained_for_special_tokens_are_taken(checkpoint, tmp_path):
    base, known = make_model(), len(make_tokenizer())
    base.resize_token_embeddings(known + 1)
    base.get_input_embeddings().weight.data[known] = 0.5
    train(tmp_path / "lora", base=base, embeddings=True)
    with load(checkpoint) as model:
        model.add_adapter(DomainAdapter("law", ["verdict:"]))  # takes the id that "dose:" had in training
        model.add_adapter(DomainAdapter("medical", ["dose:"], peft_path=tmp_path / "lora"))
        (dose,) = model.engine.adapters["medical"].prompts.encode("dose:").slow
        assert dose == known + 1
        assert torch.all(model.model.get_input_embeddings().weight[dose] == 0.5)


def test_rows_that_others_use_too_are_not_taken(checkpoint, tmp_path):
    base = make_model()
    base.resize_token_embeddings(len(make_tokenizer()) + 1)
    base.get_input_embeddings().weight.data[5] += 1
    train(tmp_path / "lora", base=base, embeddings=True)
    with load(checkpoint) as model, pytest.raises(AdapterError, match="other requests use them too"):
        model.add_adapter(DomainAdapter("medical", ["dose:"], peft_path=tmp_path / "lora"))


@pytest.fixture(scope="module")
def of_two_domains(tmp_path_factory):
    """A model with two adapters, and what it says to each domain and to none."""
    folder = tmp_path_factory.mktemp("two-domains")
    with load(save_checkpoint(folder / "base", make_model(), make_tokenizer())) as model:
        for seed, domain in enumerate(("law", "tax"), start=1):
            train(folder / domain, seed=seed)
            model.add_adapter(DomainAdapter(domain, peft_path=folder / domain))
        domains = (None, "law", "tax")
        before = {domain: model.generate("12+34=", GREEDY, adapter=domain).text for domain in domains}
        assert len(set(before.values())) == 3
        yield model, before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "bias"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa', which changes the model's own"),
        ({"init_lora_weights": "olora"}, "init_lora_weights is 'olora'"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "embed_tokens"),
        ({"target_modules": ["q_proj", "lm_head"]}, "lm_head"),
        ({"modules_to_save": ["norm"]}, "norm"),
        ({"base": make_model(hidden_size=64)}, "does not fit"),
        ({"base": make_model(num_hidden_layers=3)}, "does not fit"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_leave_the_model_as_it_was(
    of_two_domains, tmp_path, changes, message
):
    model, before = of_two_domains
    train(tmp_path / "lora", **changes)
    with pytest.raises(AdapterError, match=message):
        model.add_adapter(DomainAdapter("medical", peft_path=tmp_path / "lora"))
    for domain, text in before.items():
        assert model.generate("12+34=", GREEDY, adapter=domain).text == text, domain
    with pytest.raises(Exception, match="no adapter 'medical'"):
        model.generate("12+34=", adapter="medical")


def test_a_domain_can_be_added_after_weights_for_it_were_refused(checkpoint, tmp_path):
    train(tmp_path / "misfit", target_modules=["q_proj", "lm_head"])
    expected = continued(train(tmp_path / "fit", seed=1), "12+34=")
    with load(checkpoint) as model:
        with pytest.raises(AdapterError):
            model.add_adapter(DomainAdapter("medical", peft_path=tmp_path / "misfit"))
        model.add_adapter(DomainAdapter("medical", ["dose:"], peft_path=tmp_path / "fit"))
        text = model.generate("12+34=", GREEDY, adapter="medical").text
        assert text
        assert expected.startswith(text)


def test_pickled_weights_and_empty_folders_are_refused(tmp_path, checkpoint):
    with load(checkpoint) as model:
        with pytest.raises(AdapterError, match=r"holds no adapter_model\.safetensors"):
            model.add_adapter(DomainAdapter("medical", peft_path=tmp_path))
        (tmp_path / "adapter_model.bin").write_bytes(b"")
        with pytest.raises(AdapterError, match="pickled weights only"):
            model.add_adapter(DomainAdapter("medical", peft_path=tmp_path))


def test_without_peft_the_error_says_how_to_get_it(monkeypatch, tmp_path, checkpoint):
    train(tmp_path / "lora")
    with load(checkpoint) as model:
        monkeypatch.setitem(sys.modules, "peft", None)
        with pytest.raises(AdapterError, match="pip install peft"):
            model.add_adapter(DomainAdapter("medical", peft_path=tmp_path / "lora"))
        model.add_adapter(DomainAdapter("medical", ["dose:"]))  # needs none
