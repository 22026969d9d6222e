"""From folder or Hub id to a reward model, of whichever kind its weights are."""

from collections.abc import Sequence
from pathlib import Path

from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.hub import cached_file

from abcrl.config import InputError
from abcrl.config.paths import require_model_folder
from abcrl.config.weights import WEIGHT_FILES, holds_value_head
from abcrl.hub import locate
from abcrl.models.loading import LOADING_ERRORS, first_line, incomplete, load_pretrained
from abcrl.models.text.tokenizers import load_tokenizer

from .model import RewardModel
from .value_head import load_value_head_model


def load_reward_model(
    reference: str,
    key: str,
    *,
    positive_label: str | int | None = None,
    layer: int = -1,
    heads: Sequence[int] | None = None,
) -> tuple[RewardModel, PreTrainedTokenizerBase]:
    """Returns a reward model in float32, frozen, and its tokenizer.

    What it is, is told from its weights: with a `v_head` it is a backbone with a value head
    (`value_head`), without one a sequence classifier.

    Args:
        reference: Local folder or Hub id.
        key: Configuration key to name when it cannot be loaded.
        positive_label: Which of two labels is the good one, by name or index; see `positive_index`.
        layer: Layer whose attention is read; negative counts from the end.
        heads: Heads to average over; None: all.

    Raises:
        InputError: It cannot be loaded, is no reward model (its head would be random), or does not
            say what its score is.
    """
    require_model_folder(reference, key)
    place = locate(reference, key)
    weights = _weights_file(place, reference, key)
    if weights is not None and holds_value_head(weights):
        try:
            model = load_value_head_model(place, weights)
        except LOADING_ERRORS as error:
            raise InputError(
                f"{key}: must be a language model's backbone with a v_head, received {reference} "
                f"({first_line(error)}); check the checkpoint"
            ) from None
    else:
        model = _load_classifier(reference, key)
    ruined = [name for name, weight in model.named_parameters() if not weight.isfinite().all()]
    if ruined:
        raise InputError(
            f"{key}: must have finite weights, received {reference} with NaN or infinity in "
            f"{ruined[0]}; train it again with a lower learning rate"
        )
    reward_model = RewardModel(
        model.requires_grad_(False), positive_label=positive_label, layer=layer, heads=heads
    )
    return reward_model, load_tokenizer(reference, key)


def _weights_file(place: str, reference: str, key: str) -> Path | None:
    """Returns the weights' file or index; of a Hub id, from the cache that it is downloaded to."""
    for name in WEIGHT_FILES:
        try:
            file = cached_file(place, name, _raise_exceptions_for_missing_entries=False)
        except OSError as error:
            raise InputError(
                f"{key}: must have weights that can be had, received {reference} "
                f"({first_line(error)}); check the name and the network, or give a folder"
            ) from None
        if file is not None:
            return Path(file)
    return None  # in a format of transformers' own


def _load_classifier(reference: str, key: str) -> PreTrainedModel:
    model, report = load_pretrained(AutoModelForSequenceClassification, reference, key)
    missing = sorted(report["missing_keys"])
    if any(name.startswith("score.") for name in missing):
        raise InputError(
            f"{key}: must be a reward model, a sequence classifier or a language model with a "
            f"v_head, received {reference} without {missing[-1]} and v_head; train one with abcrl "
            f"train-rm"
        )
    if missing:
        raise InputError(incomplete(key, reference, model, missing[0]))
    # A trained bias, say: without it every score would be another.
    left_out = [name for name in report["unexpected_keys"] if name.startswith("score.")]
    if left_out:
        raise InputError(
            f"{key}: must have the head of {type(model).__name__}, received {reference} with "
            f"{min(left_out)} besides; give a model whose head transformers knows"
        )
    return model
