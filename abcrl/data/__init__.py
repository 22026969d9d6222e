"""Where text comes from: the corpus of a run, its division, and prompts cut from it.

Receives tokenizers, loads none.
"""

from .corpus import Corpus
from .left_out import Finding, LeftOut
from .load import (
    load_corpus,
    load_pairs,
    load_prompts,
    read_corpus,
    read_pairs,
    read_prompts,
)
from .prompts import (
    GivenPrompts,
    Prompt,
    PromptPool,
    PromptSource,
    TextBeginnings,
    count_prompts,
    require_two_heldout,
)
from .records import Example, Pair
from .sources import require_source
from .truncation import truncation_length

__all__ = [
    "Corpus",
    "Example",
    "Finding",
    "GivenPrompts",
    "LeftOut",
    "Pair",
    "Prompt",
    "PromptPool",
    "PromptSource",
    "TextBeginnings",
    "count_prompts",
    "load_corpus",
    "load_pairs",
    "load_prompts",
    "read_corpus",
    "read_pairs",
    "read_prompts",
    "require_source",
    "require_two_heldout",
    "truncation_length",
]
