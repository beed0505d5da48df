"""The nano tokenizer: single characters, fixed phrases of the questions, bytes for everything else.

Arithmetic wants one token a digit; the long fixed sentences of the questions want one token each.
`ignore_merges` lets a BPE model without merges take a whole pre-token that is in the vocabulary, and
byte fallback makes any text representable, so encoding never loses anything.
"""

import re

from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
THINK, THINK_END = "<think>", "</think>"
PHRASES = (
    "State the final answer to the following arithmetic problem: ",
    "Solve the following multiplication: ",
    ". Give only the result as your final answer.",
    "Find the Greatest Common Divisor (GCD) of these numbers: ",
    ". Give only the GCD as your final answer.",
    "Your task is to convert a number between two different bases.\n\n"
    "If the target base is > 10, use lowercase letters a-z for digits above 9.\n\n"
    "Now, convert the ",
    "base-",
    " number ",
    "binary",
    "hexadecimal",
    "Sort these numbers in ",
    "ascending",
    "descending",
    " order: ",
    "\nPlease follow the instruction below:\n"
    "## 1. Let all your answers be a list of numbers. Instead of reporting your answer as "
    "-69, -13, 1, 7, 11, 43, 59, 61, use ['-69', '-13', '1', '7', '11', '43', '59', '61'] instead\n"
    "## 2. Convert all numbers in the square brackets as strings. "
    "For example, ['-69', '-13', '1', '7', '11', '43', '59', '61']",
    "How many 1 bits are there in the binary representation of the number ",
    'How many times does the letter "',
    '" appear in the text: "',
    "Spell this word backward (example: sun -> nus): ",
    "Your task is to count how many legs there are in total when given a list of animals.\n\n"
    "Now, how many legs are there in total if you have ",
    "Find the prime factorization of ",
    ". Write the factors separated by × (Example: for 12 the answer would be: 2 × 2 × 3)",
    " × ",
    ".0",
    "['",
    "', '",
    "']",
    "wait: ",
    "check: ",
    "again: ",
    "so: ",
    "ok!",
    "no!",
)
# The model was trained on single questions: the last user message is the whole prompt.
CHAT_TEMPLATE = (
    "{% set asked = messages | selectattr('role', 'equalto', 'user') | list %}"
    "{{ bos_token }}{{ (asked | last)['content'] | trim }}{{ '\n' }}"
    "{% if add_generation_prompt %}{{ '<think>\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '</think>' }}{% endif %}"
    "{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer with its chat template, ready for `save_pretrained`."""
    characters = ["\n", *map(chr, range(32, 127))]
    names = [PAD, BOS, EOS, THINK, THINK_END, *PHRASES, *characters]
    names += [f"<0x{byte:02X}>" for byte in range(256)]
    model = BPE(
        vocab={name: place for place, name in enumerate(names)},
        merges=[],
        byte_fallback=True,
        ignore_merges=True,
    )
    tokenizer = Tokenizer(model)
    longest_first = sorted(PHRASES, key=len, reverse=True)
    pattern = "|".join(re.escape(phrase) for phrase in longest_first) + r"|[\s\S]"
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([PAD, BOS, EOS])
    # Not "special": the thinking marks are part of the text that clients and the engine read.
    tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in (THINK, THINK_END)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def prompt_text(question: str, thinking: bool = True) -> str:
    """What the chat template renders for one question."""
    return f"{BOS}{question.strip()}\n{THINK}\n" + ("" if thinking else THINK_END)
