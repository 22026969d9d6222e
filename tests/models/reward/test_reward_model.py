"""The score: read at the last real token, whatever the padding holds and wherever it is.

Of both kinds of reward model: a sequence classifier, and a backbone with a v_head.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from abcrl.config import InputError
from abcrl.models import RewardModel, last_positions, position_ids
from tests.models.attention.attention_cases import eager_attention, eager_maps, rows_of

BuildModel = Callable[..., PreTrainedModel]

ARCHITECTURES = ["gpt2", "llama", "mistral", "gptj", "gpt_neox", "opt", "bloom", "falcon"]
KINDS = ["classifier", "v_head"]
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


@pytest.fixture(params=KINDS)
def build(
    request: pytest.FixtureRequest, tiny_classifier: BuildModel, tiny_causal_lm: BuildModel
) -> BuildModel:
    """build(architecture="gpt2"): the network of a reward model of either kind."""

    def with_value_head(architecture: str = "gpt2") -> PreTrainedModel:
        backbone: Any = tiny_causal_lm(architecture).base_model
        head = nn.Linear(32, 1, device="meta").to_empty(device="cpu")
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter) ** 3)
        backbone.add_module("v_head", head)
        model: PreTrainedModel = backbone
        return model

    return tiny_classifier if request.param == "classifier" else with_value_head


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
def test_a_row_scores_the_same_alone_and_in_a_padded_batch(build: BuildModel, architecture, side):
    model = build(architecture)
    alone = torch.cat([scores_of(model, *padded([text], side, fill=9)) for text in TEXTS])

    together = scores_of(model, *padded(TEXTS, side, fill=9, extra=2))

    assert alone.std() > 0.1
    # Rounding only (1e-16 in float64): a text of one token takes other kernels alone.
    assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_padding_is_never_read(build: BuildModel, architecture, side):
    model = build(architecture)
    expected = scores_of(model, *padded(TEXTS, side, fill=1))

    for fill in (EOS, 9, 63):
        ids, mask = padded(TEXTS, side, fill=fill)
        for pad_token_id in (None, EOS, 1, 9):
            model.config.pad_token_id = pad_token_id
            assert torch.equal(scores_of(model, ids, mask), expected)


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_eos_inside_does_not_end_the_text(build: BuildModel, side):
    # The classifier's own pooling, with EOS as its pad token, reads the score before the first EOS.
    model = build()
    model.config.pad_token_id = EOS
    texts = [[5, 9, EOS, 2, 17], [22, EOS]]
    alone = torch.cat([scores_of(model, *padded([text], side, fill=9)) for text in texts])

    assert_close(scores_of(model, *padded(texts, side, fill=EOS)), alone, atol=1e-6, rtol=0)
    cut = scores_of(model, *padded([[5, 9], [22]], side, fill=EOS))
    assert ((alone - cut).abs() > 1e-3).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores_are_identical_with_and_without_attention(build: BuildModel, architecture):
    model = build(architecture)
    ids, mask = padded(TEXTS, "right", fill=1)
    without = RewardModel(model).score(ids, mask, with_attention=False)
    with_attention = RewardModel(model).score(ids, mask, with_attention=True)

    assert without.attention is None
    assert with_attention.attention is not None
    assert with_attention.attention.shape == ids.shape
    assert torch.equal(with_attention.scores, without.scores)


def test_scoring_needs_no_gradient_and_is_in_float32(build: BuildModel):
    model: Any = build()
    output = RewardModel(model.to(torch.bfloat16)).score(
        *padded(TEXTS, "left", fill=1), with_attention=True
    )
    assert output.attention is not None
    assert not output.scores.requires_grad
    assert output.scores.dtype == output.attention.dtype == torch.float32


def test_a_model_in_train_mode_is_put_into_eval_mode(build: BuildModel):
    model = build().train()
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


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_attention_is_the_row_of_the_scored_position(build: BuildModel, architecture, side):
    model = build(architecture)
    ids, mask = padded(TEXTS, side, fill=1)

    attention = RewardModel(model).score(ids, mask, with_attention=True).attention

    assert attention is not None
    expected = eager_attention(model.base_model, ids, mask)
    rows = rows_of(expected, last_positions(mask)[:, None])[:, 0]
    assert_close(attention, rows, atol=1e-6, rtol=0)
    assert RewardModel(model).verify_attention(ids, mask) < 1e-5


@pytest.mark.parametrize("architecture", ["gpt2", "gptj"])
def test_layer_and_heads_choose_what_is_captured_and_verified(build: BuildModel, architecture):
    model = build(architecture)
    ids, mask = padded(TEXTS, "left", fill=1)
    chosen = RewardModel(model, layer=0, heads=[3, 1])

    attention = chosen.score(ids, mask, with_attention=True).attention

    assert attention is not None
    maps = eager_maps(model.base_model, ids, mask, layer=0)[:, [1, 3]].mean(1)
    rows = rows_of(maps, last_positions(mask)[:, None])[:, 0]
    assert_close(attention, rows, atol=1e-6, rtol=0)
    assert chosen.verify_attention(ids, mask) < 1e-5
    usual = RewardModel(model).score(ids, mask, with_attention=True)
    assert usual.attention is not None
    assert (usual.attention - attention).abs().max() > 0.01
    assert torch.equal(usual.scores, chosen.score(ids, mask, with_attention=False).scores)


def test_a_layer_or_head_that_does_not_exist_is_refused(build: BuildModel):
    ids, mask = padded(TEXTS, "left", fill=1)
    with pytest.raises(InputError, match=r"^reward.layer: must be from -3 to 2, .* received 3;"):
        RewardModel(build(), layer=3).score(ids, mask, with_attention=True)
    with pytest.raises(InputError, match=r"^reward.heads: must be different heads from 0 to 3"):
        RewardModel(build(), heads=[4]).verify_attention(ids, mask)


def test_the_positive_label_chooses_the_sign(tiny_classifier: BuildModel):
    model = tiny_classifier(id2label={0: "great", 1: "dull"})
    ids, mask = padded(TEXTS, "right", fill=1)

    def scores(label: str | int) -> Tensor:
        return (
            RewardModel(model, positive_label=label).score(ids, mask, with_attention=False).scores
        )

    assert torch.equal(scores("Great"), -scores(1))
    assert torch.equal(scores(0), scores("great"))
    told = tiny_classifier(id2label={0: "chosen", 1: "rejected"})
    assert torch.equal(scores_of(told, ids, mask), scores("great"))
    with pytest.raises(InputError, match=r"^score.positive_label: .* great \(0\) and dull \(1\)"):
        RewardModel(model)


def test_a_label_is_refused_where_one_number_is_the_score(tiny_classifier: BuildModel):
    with pytest.raises(InputError, match=r"^score.positive_label: .* received 'positive'; remove"):
        RewardModel(tiny_classifier(num_labels=1), positive_label="positive")


def test_the_head_moves_with_the_network(build: BuildModel):
    reward_model = RewardModel(build())
    assert reward_model.to(torch.device("meta")) is reward_model
    assert {p.device.type for p in reward_model.model.parameters()} == {"meta"}
