"""Where text comes from: the corpus of a run, its division, and prompts cut from it.

Receives tokenizers, loads none.
"""

from .corpus import Corpus, load_corpus, read_corpus, require_source
from .prompts import Prompt, PromptPool, PromptSource, prompt_texts, require_two_heldout
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
    "read_corpus",
    "require_source",
    "require_two_heldout",
    "truncation_length",
]
