"""A random model that thinks in lines, stops, and answers: enough to record and to train control on."""

import torch
from tiny_engines import make_model, make_tokenizer

THINKS = {"\n": 3.0, "2": 3.0, "</think>": 1.5}
ANSWERS = {"1": 40.0, "3": 40.0}
ENDS = {"<eos>": 60.0}


def talker(seed=0):
    """A random Llama that writes lines of twos, stops thinking some time, and answers 1 or 3.

    Three dimensions of its embeddings are large where others are small, and so stay nearly constant through
    the model: one for every token, one for the end of thinking, one for an answer. They bias what comes next.
    """
    tokenizer, model = make_tokenizer(), make_model(seed=seed, tie_word_embeddings=False)
    constant = model.config.hidden_size**0.5

    def bias(dimension, words, others):
        model.lm_head.weight[:, dimension] = others / constant
        for word, weight in words.items():
            model.lm_head.weight[tokenizer.convert_tokens_to_ids(word), dimension] = weight / constant

    with torch.no_grad():
        embeddings = model.model.embed_tokens.weight
        embeddings[:, :3] = 0
        embeddings[:, 0] = 20
        embeddings[tokenizer.convert_tokens_to_ids("</think>"), 1] = 20
        embeddings[tokenizer.convert_tokens_to_ids(list(ANSWERS)), 2] = 20
        model.lm_head.weight *= 0.5
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight *= 0.3
            layer.mlp.down_proj.weight *= 0.3
        bias(0, THINKS, others=-20)
        bias(1, ANSWERS, others=0)
        bias(2, ENDS, others=0)
    return model
