"""The score: read at the last real token, whatever the padding holds and wherever it is."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from abcrl.config import InputError
from abcrl.models import RewardModel, last_positions, position_ids

BuildModel = Callable[..., PreTrainedModel]

ARCHITECTURES = ["gpt2", "llama", "mistral", "gpt_neox", "opt"]
EOS = 0
TEXTS = [[5, 9, 33, 2, 17, 40, 8], [22, 61, 3], [50, 7, 7, 12, 30], [11]]


def padded(texts: list[list[int]], side: str, *, fill: int, extra: int = 0) -> tuple[Tensor, ...]:
    """Returns ids and mask, padded on the given side with `fill`."""
    width = max(map(len, texts)) + extra
    ids = torch.full((len(texts), width), fill)
    mask = torch.zeros(len(texts), width, dtype=torch.bool)
    for row, text in enumerate(texts):
        where = slice(width - len(text), width) if side == "left" else slice(0, len(text))
        ids[row, where] = torch.tensor(text)
        mask[row, where] = True
    return ids, mask


def scores_of(model: PreTrainedModel, ids: Tensor, mask: Tensor) -> Tensor:
    return RewardModel(model).score(ids, mask, with_attention=False).scores


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_score_equals_the_classifiers_own_logits_on_unpadded_rows(
    tiny_classifier: BuildModel, architecture
):
    model: Any = tiny_classifier(architecture)
    for text in TEXTS:
        ids = torch.tensor([text])
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0]
        actual = scores_of(model, ids, torch.ones_like(ids, dtype=torch.bool))
        assert_close(actual, (logits[1] - logits[0])[None], atol=1e-6, rtol=0)


def test_one_label_gives_its_logit(tiny_classifier: BuildModel):
    model: Any = tiny_classifier(num_labels=1)
    ids = torch.tensor([TEXTS[0]])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0]
    assert_close(scores_of(model, ids, torch.ones_like(ids, dtype=torch.bool)), logits)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_row_scores_the_same_alone_and_in_a_padded_batch(
    tiny_classifier: BuildModel, architecture, side
):
    model = tiny_classifier(architecture)
    alone = torch.cat([scores_of(model, *padded([text], side, fill=9)) for text in TEXTS])

    together = scores_of(model, *padded(TEXTS, side, fill=9, extra=2))

    assert alone.std() > 0.1
    # Rounding only (1e-16 in float64): a text of one token takes other kernels alone.
    assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_padding_is_never_read(tiny_classifier: BuildModel, architecture, side):
    model = tiny_classifier(architecture)
    expected = scores_of(model, *padded(TEXTS, side, fill=1))

    for fill in (EOS, 9, 63):
        ids, mask = padded(TEXTS, side, fill=fill)
        for pad_token_id in (EOS, 1, 9):
            model.config.pad_token_id = pad_token_id
            assert torch.equal(scores_of(model, ids, mask), expected)


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_eos_inside_does_not_end_the_text(tiny_classifier: BuildModel, side):
    # The classifier's own pooling, with EOS as its pad token, reads the score before the first EOS.
    model = tiny_classifier()
    model.config.pad_token_id = EOS
    texts = [[5, 9, EOS, 2, 17], [22, EOS]]
    alone = torch.cat([scores_of(model, *padded([text], side, fill=9)) for text in texts])

    assert_close(scores_of(model, *padded(texts, side, fill=EOS)), alone, atol=1e-6, rtol=0)
    cut = scores_of(model, *padded([[5, 9], [22]], side, fill=EOS))
    assert ((alone - cut).abs() > 1e-3).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores_are_identical_with_and_without_attention(tiny_classifier: BuildModel, architecture):
    model = tiny_classifier(architecture)
    ids, mask = padded(TEXTS, "right", fill=1)
    without = RewardModel(model).score(ids, mask, with_attention=False)
    with_attention = RewardModel(model).score(ids, mask, with_attention=True)

    assert without.attention is None
    assert with_attention.attention is not None
    assert with_attention.attention.shape == ids.shape
    assert torch.equal(with_attention.scores, without.scores)


def test_scoring_needs_no_gradient_and_is_in_float32(tiny_classifier: BuildModel):
    model: Any = tiny_classifier()
    output = RewardModel(model.to(torch.bfloat16)).score(
        *padded(TEXTS, "left", fill=1), with_attention=True
    )
    assert output.attention is not None
    assert not output.scores.requires_grad
    assert output.scores.dtype == output.attention.dtype == torch.float32


def test_a_classifier_in_train_mode_is_put_into_eval_mode(tiny_classifier: BuildModel):
    model = tiny_classifier().train()
    ids, mask = padded(TEXTS, "right", fill=1)
    assert torch.equal(scores_of(model, ids, mask), scores_of(model, ids, mask))
    assert not model.training


def test_three_labels_are_refused(tiny_classifier: BuildModel):
    with pytest.raises(InputError, match=r"reward_model: .* with 3 labels") as refused:
        RewardModel(tiny_classifier(num_labels=3))
    assert len(str(refused.value).splitlines()) == 1


def test_a_classifier_without_a_linear_head_named_score_is_refused():
    config = AutoConfig.for_model(
        "bert", hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    with pytest.raises(InputError, match=r"reward_model: .* BertForSequenceClassification"):
        RewardModel(AutoModelForSequenceClassification.from_config(config))


def test_positions_count_real_tokens_on_either_side():
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 0, 0], [0, 1, 1, 1, 0]]).bool()
    positions = position_ids(mask)
    for row in range(3):
        assert positions[row][mask[row]].tolist() == [0, 1, 2]
    assert (positions >= 0).all()
    assert last_positions(mask).tolist() == [4, 2, 3]
