"""The only room that loads transformers models and tokenizers.

Policy with value head, reward model, and the capture of attention rows from both.
"""

from .adaptation import adapt, computing, recompute_activations, require_adaptation
from .adapters import (
    Adapters,
    adapters_off,
    add_adapters,
    merge_adapters,
    merged_weights,
    save_adapters,
)
from .attention.capture import Capture, CaptureError, capture_attention
from .attention.check import verify_capture
from .loading import (
    disable_dropout,
    embedding_rows,
    give_pad_token,
    load_causal_lm,
    new_classifier,
    tokenizer_fingerprint,
)
from .new_gelu import compute_gelu_in_place
from .policy import (
    PolicyOutput,
    PolicyWithValueHead,
    ValueModel,
    response_logits,
    save_policy,
)
from .positions import context_length, last_positions, position_ids
from .precision import compute_in_bf16, require_bf16
from .reward.loading import load_reward_model
from .reward.model import RewardModel, RewardOutput, read_scores
from .reward.saving import save_with_value_head
from .scratch import build_causal_lm, require_buildable
from .text.byte_spans import DecodedResponse, decode_response, decode_text, token_bytes
from .text.prompt_writer import PromptedText, PromptWriter, TextReader
from .text.reading import (
    PromptedResponse,
    RewardInputs,
    RewardTokens,
    byte_overlap,
    read_response,
    read_responses,
    splice_response,
    splice_responses,
)
from .text.reward_text import Render, RewardText, continue_prompt
from .text.templates import make_render
from .text.tokenizers import (
    add_pad_token,
    bos_prefix,
    encode_batch,
    encode_plain,
    load_tokenizer,
    punctuation_ids,
    shares_ids,
    tokenizer_identity,
    tokens_in_spans,
    train_tokenizer,
    unshared_ids,
)
from .tied_embedding import rows_added_in_place

__all__ = [
    "Adapters",
    "Capture",
    "CaptureError",
    "DecodedResponse",
    "PolicyOutput",
    "PolicyWithValueHead",
    "PromptWriter",
    "PromptedResponse",
    "PromptedText",
    "Render",
    "RewardInputs",
    "RewardModel",
    "RewardOutput",
    "RewardText",
    "RewardTokens",
    "TextReader",
    "ValueModel",
    "adapt",
    "adapters_off",
    "add_adapters",
    "add_pad_token",
    "bos_prefix",
    "build_causal_lm",
    "byte_overlap",
    "capture_attention",
    "compute_gelu_in_place",
    "compute_in_bf16",
    "computing",
    "context_length",
    "continue_prompt",
    "decode_response",
    "decode_text",
    "disable_dropout",
    "embedding_rows",
    "encode_batch",
    "encode_plain",
    "give_pad_token",
    "last_positions",
    "load_causal_lm",
    "load_reward_model",
    "load_tokenizer",
    "make_render",
    "merge_adapters",
    "merged_weights",
    "new_classifier",
    "position_ids",
    "punctuation_ids",
    "read_response",
    "read_responses",
    "read_scores",
    "recompute_activations",
    "require_adaptation",
    "require_bf16",
    "require_buildable",
    "response_logits",
    "rows_added_in_place",
    "save_adapters",
    "save_policy",
    "save_with_value_head",
    "shares_ids",
    "splice_response",
    "splice_responses",
    "token_bytes",
    "tokenizer_fingerprint",
    "tokenizer_identity",
    "tokens_in_spans",
    "train_tokenizer",
    "unshared_ids",
    "verify_capture",
]
