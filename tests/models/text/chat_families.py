"""Tokenizers whose chat templates are those of model families, with the tokens that these add.

Named are BOS, EOS and padding alone, as in the families' files; the other control tokens are
special without a name. Trained here, on a few lines.
"""

import functools
import json
from collections.abc import Callable, Sequence
from typing import Any

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tests.models.text.tokenizer_families import CORPUS

LLAMA3 = """\
{{- bos_token }}{%- for turn in messages %}
{{- '<|start_header_id|>' + turn.role + '<|end_header_id|>\n\n' + turn.content | trim }}
{{- '<|eot_id|>' }}{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"""
QWEN = """\
{%- if messages[0].role != 'system' %}{{- '<|im_start|>system\nBe kind.<|im_end|>\n' }}{%- endif %}
{%- for turn in messages %}
{{- '<|im_start|>' + turn.role + '\n' + turn.content + '<|im_end|>\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"""
# Qwen3's puts empty thoughts before an answer that it knows, and not before one that is to come.
THINKING = QWEN.replace(
    "{{- '<|im_start|>' + turn.role + '\n' +",
    "{{- '<|im_start|>' + turn.role + '\n' }}{%- if turn.role == 'assistant' and loop.last %}"
    "{{- '<think>\n\n</think>\n\n' }}{%- endif %}{{- ",
)
# Llama 2's writes what the system says into the first user's turn, and knows no generation prompt.
LLAMA2 = """\
{%- set system = messages[0].content if messages[0].role == 'system' %}
{%- for turn in (messages[1:] if system else messages) %}
{%- if turn.role == 'user' %}{{- bos_token + '[INST] ' }}
{%- if loop.first and system %}{{- '<<SYS>>\n' + system + '\n<</SYS>>\n\n' }}{%- endif %}
{{- turn.content.strip() + ' [/INST]' }}
{%- else %}{{- ' ' + turn.content.strip() + ' ' + eos_token }}{%- endif %}{%- endfor %}"""
# Mistral's writes it into the last turn, if that is the user's: so a known answer loses it.
MISTRAL = """\
{%- set system = messages[0].content if messages[0].role == 'system' %}{{- bos_token }}
{%- for turn in (messages[1:] if system else messages) %}
{%- if turn.role == 'user' %}{{- '[INST] ' }}
{%- if loop.last and system %}{{- system + '\n\n' }}{%- endif %}{{- turn.content + '[/INST]' }}
{%- else %}{{- ' ' + turn.content | trim + eos_token }}{%- endif %}{%- endfor %}"""
# Its successors write it into the last user's turn, whatever follows.
MISTRAL_LAST = MISTRAL.replace(
    "loop.last", "turn == (messages|selectattr('role','eq','user')|list)[-1]"
)
GEMMA = """\
{{- bos_token }}{%- for turn in messages %}
{%- if turn.role == 'system' %}{{- raise_exception('no system role') }}{%- endif %}
{{- '<start_of_turn>' + ('model' if turn.role == 'assistant' else turn.role) + '\n' }}
{{- turn.content | trim + '<end_of_turn>\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<start_of_turn>model\n' }}{%- endif %}"""


def byte_level(specials: Sequence[str], eos: str, bos: str | None = None) -> Any:
    """Llama 3's and Qwen's style."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=350,
        special_tokens=list(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    return _named(backend, eos, bos)


def byte_fallback(
    specials: Sequence[str], eos: str, bos: str, *, begins_with_blank: bool = True
) -> Any:
    """Llama 2's, Mistral's and (without a blank before the first word) Gemma's style."""
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    prepended = [normalizers.Prepend("▁")] if begins_with_blank else []
    backend.normalizer = normalizers.Sequence([*prepended, normalizers.Replace(" ", "▁")])
    backend.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<unk>", *specials, *bytes_], show_progress=False
    )
    backend.train_from_iterator(CORPUS[:1], trainer)
    written = json.loads(backend.to_str())
    written["added_tokens"] = [
        token for token in written["added_tokens"] if token["content"] not in bytes_
    ]
    written["pre_tokenizer"] = None
    backend = Tokenizer.from_str(json.dumps(written))
    stripped = [decoders.Strip(" ", 1, 0)] if begins_with_blank else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *stripped]
    )
    return _named(backend, eos, bos, unk_token="<unk>")


def unigram(specials: Sequence[str], eos: str, bos: str) -> Any:
    """XLM-RoBERTa's style: special tokens are words of the vocabulary, found in any text."""
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=200,
        special_tokens=["<unk>", *specials],
        unk_token="<unk>",
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    return _named(backend, eos, bos, unk_token="<unk>")


def _named(backend: Tokenizer, eos: str, bos: str | None, **named: str) -> Any:
    if bos is not None:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
        )
        named["bos_token"] = bos
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=eos, **named)


HEADERS = ["<|start_header_id|>", "<|end_header_id|>"]
TURNS = ["<start_of_turn>", "<end_of_turn>"]
CHAT_FAMILIES: dict[str, tuple[Callable[[], Any], str]] = {
    "llama3": (
        lambda: byte_level(["<|bot|>", "<|eot_id|>", *HEADERS], "<|eot_id|>", "<|bot|>"),
        LLAMA3,
    ),
    "qwen": (lambda: byte_level(["<|im_start|>", "<|im_end|>"], "<|im_end|>"), QWEN),
    "thinking": (lambda: byte_level(["<|im_start|>", "<|im_end|>"], "<|im_end|>"), THINKING),
    "llama2": (lambda: byte_fallback(["<s>", "</s>"], "</s>", "<s>"), LLAMA2),
    "mistral": (
        lambda: byte_fallback(["<s>", "</s>", "[INST]", "[/INST]"], "</s>", "<s>"),
        MISTRAL,
    ),
    "mistral-last": (
        lambda: byte_fallback(["<s>", "</s>", "[INST]", "[/INST]"], "</s>", "<s>"),
        MISTRAL_LAST,
    ),
    "gemma": (
        lambda: byte_fallback(["<bos>", *TURNS], "<end_of_turn>", "<bos>", begins_with_blank=False),
        GEMMA,
    ),
    "unigram": (
        lambda: unigram(["<s>", *TURNS], "<end_of_turn>", "<s>"),
        GEMMA,
    ),
}


@functools.cache
def chat_tokenizer(family: str) -> PreTrainedTokenizerBase:
    """Returns the tokenizer of a family, made once."""
    make, template = CHAT_FAMILIES[family]
    tokenizer: PreTrainedTokenizerBase = make()
    tokenizer.chat_template = template
    return tokenizer
