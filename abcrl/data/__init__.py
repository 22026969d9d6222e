"""Where text comes from: the corpus of a run, its division, and prompts cut from it.

Receives tokenizers, loads none.
"""

from .corpus import Corpus, load_corpus, require_source
from .prompts import Prompt, PromptPool, PromptSource, prompt_texts, too_few_heldout
from .records import Example
from .truncation import truncation_length

__all__ = [
    "Corpus",
    "Example",
    "Prompt",
    "PromptPool",
    "PromptSource",
    "load_corpus",
    "prompt_texts",
    "require_source",
    "too_few_heldout",
    "truncation_length",
]
