"""Batches for SFT: which tokens are learnt, and several texts in one row."""

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from abcrl.config import InputError, stream_seed
from abcrl.models import PromptedText

from .texts import Features, Texts, pad_right

IGNORED = -100
"""The label of a token that is not learnt."""

# Rows that are being filled at the same time: more pack a little tighter, and take longer.
_OPEN_ROWS = 64
# Shares of the largest logit. Texts in one row that cannot see each other agree with the same texts
# alone to 1e-6 in float32; those that can are apart by 0.05 and more.
_TOLERANCE = 1e-3


def features(texts: Texts, *, loss: str, index: int) -> Features:
    """Returns one text, and the index of the first token of it that is learnt.

    Args:
        texts: The texts.
        loss: "response": what stands behind the prompt, EOS included; "all": every token.
        index: Which text.
    """
    ids, start = texts[index]
    return {"input_ids": ids, "start": start if loss == "response" else 0}


def collate(rows: Sequence[Features], *, pad_token_id: int) -> dict[str, Tensor]:
    """Returns a right-padded batch with labels, `IGNORED` in the padding and in prompts."""
    batch = pad_right(rows, pad_token_id=pad_token_id)
    places = torch.arange(batch["input_ids"].shape[1])
    starts = torch.tensor([row["start"] for row in rows])[:, None]
    learnt = (batch["attention_mask"] == 1) & (places >= starts)
    batch["labels"] = batch["input_ids"].where(learnt, IGNORED)
    return batch


def pack(lengths: Sequence[int], *, width: int, seed: int) -> list[list[int]]:
    """Returns which texts share a row: every text once, no row longer than `width` tokens.

    Best fit in an order that is drawn: each text goes into the fullest of the open rows that has
    room for it (Johnson 1973, "Near-optimal bin packing algorithms").

    Args:
        lengths: Tokens of each text, at most `width`.
        width: Tokens of a row.
        seed: Decides the order.
    """
    order = list(range(len(lengths)))
    random.Random(stream_seed(seed, "packing")).shuffle(order)
    rows: list[list[int]] = []
    still_open: dict[int, int] = {}  # row -> tokens that are free in it
    for number in order:
        fitting = {row: free for row, free in still_open.items() if free >= lengths[number]}
        if fitting:
            row = min(fitting, key=lambda one: (fitting[one], one))
        else:
            row = len(rows)
            rows.append([])
            still_open[row] = width
            if len(still_open) > _OPEN_ROWS:
                del still_open[min(still_open, key=lambda one: (still_open[one], one))]
                still_open.setdefault(row, width)
        rows[row].append(number)
        still_open[row] -= lengths[number]
    return rows


def collate_packed(rows: Sequence[Sequence[Features]], *, pad_token_id: int) -> dict[str, Any]:
    """Returns rows of several texts each, which do not see each other.

    Positions begin anew with each text, and there is no mask: that is how transformers tells texts
    in one row apart. The first token of a text is not learnt: nothing stands before it.
    """
    width = max(sum(len(text["input_ids"]) for text in row) for row in rows)
    shape = (len(rows), width)
    ids = torch.full(shape, pad_token_id)
    labels = torch.full(shape, IGNORED)
    positions = torch.zeros(shape, dtype=torch.long)
    for row, texts in enumerate(rows):
        at = 0
        for text in texts:
            tokens = torch.tensor(text["input_ids"])
            end, first = at + len(tokens), max(text["start"], 1)
            ids[row, at:end] = tokens
            labels[row, at + first : end] = tokens[first:]
            positions[row, at:end] = torch.arange(len(tokens))
            at = end
        positions[row, at:] = torch.arange(width - at)
    # With a cache transformers would not look for texts in one row.
    return {"input_ids": ids, "position_ids": positions, "labels": labels, "use_cache": False}


@torch.inference_mode()
def require_separate(model: PreTrainedModel, texts: Sequence[PromptedText], pad: int) -> None:
    """Refuses a model in which texts in one row see each other.

    Args:
        model: The model that is to be trained.
        texts: A few of its texts, at least two.
        pad: Id of the pad token.

    Raises:
        InputError: Its logits of a packed text are not those of the text alone.
    """
    training = model.training
    nn_model: Any = model.eval()
    rows = [{"input_ids": text.ids, "start": 0} for text in texts]
    packed = collate_packed([rows], pad_token_id=pad)
    device = model.device
    ids, positions = (packed[name].to(device) for name in ("input_ids", "position_ids"))
    together = nn_model(input_ids=ids, position_ids=positions, use_cache=False).logits[0]
    at, apart = 0, 0.0
    for text in texts:
        alone = nn_model(input_ids=torch.tensor([text.ids], device=device), use_cache=False)
        end = at + len(text.ids)
        difference = (together[at:end] - alone.logits[0]).abs().amax()
        apart = max(apart, float(difference / alone.logits.abs().amax()))
        at = end
    model.train(training)
    if not apart <= _TOLERANCE:  # written so that a NaN is no agreement
        raise InputError(
            f"packing: must be false for model type {model.config.model_type!r}, in which texts in "
            f"one row see each other (their logits differ by {apart:.2g} of the largest), received "
            f"true; remove it"
        )
