"""Where text comes from: the corpus of a run, its division, and prompts cut from it.

Receives tokenizers, loads none.
"""

from .corpus import Corpus, Example, load_corpus, require_source
from .prompts import Prompt, PromptSource
from .truncation import truncation_length

__all__ = [
    "Corpus",
    "Example",
    "Prompt",
    "PromptSource",
    "load_corpus",
    "require_source",
    "truncation_length",
]
