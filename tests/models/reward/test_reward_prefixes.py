"""Scores of prefixes in one forward pass: those of texts really cut there, or a refusal."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import PreTrainedModel

from abcrl.config import InputError
from abcrl.models import RewardModel, last_positions
from tests.models.attention.attention_cases import ragged_batch

BuildModel = Callable[..., PreTrainedModel]

ARCHITECTURES = ["gpt2", "llama", "mistral", "gptj", "gpt_neox", "opt", "bloom", "falcon"]


def classifier(build: BuildModel, _: BuildModel, architecture: str) -> RewardModel:
    return RewardModel(build(architecture))


def one_label(build: BuildModel, _: BuildModel, architecture: str) -> RewardModel:
    return RewardModel(build(architecture, num_labels=1))


def value_head(_: BuildModel, build: BuildModel, architecture: str) -> RewardModel:
    backbone: Any = build(architecture).base_model
    head = nn.Sequential(nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 1))
    for number, parameter in enumerate(head.parameters()):
        generator = torch.Generator().manual_seed(number)
        parameter.data = torch.randn(parameter.shape, generator=generator)
    backbone.add_module("v_head", head)
    return RewardModel(backbone)


def score_of_cut(reward_model: RewardModel, ids: Tensor, mask: Tensor, column: int) -> Tensor:
    """The score of one row without anything behind a column."""
    kept = ids[None, : column + 1], mask[None, : column + 1]
    return reward_model.score(*kept, with_attention=False).scores[0]


@pytest.mark.parametrize("kind", [classifier, one_label, value_head])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("padding", ["left", "right"])
def test_each_column_holds_the_score_of_the_text_cut_there(
    tiny_classifier: BuildModel, tiny_causal_lm: BuildModel, kind, architecture, padding
):
    reward_model = kind(tiny_classifier, tiny_causal_lm, architecture)
    ids, mask = ragged_batch(padding)

    prefixes = reward_model.score(ids, mask, with_prefixes=True).prefix_scores
    assert prefixes is not None

    assert prefixes.dtype == torch.float32
    assert (prefixes[~mask] == 0).all()
    cut = [score_of_cut(reward_model, ids[row], mask[row], t) for row, t in mask.nonzero().tolist()]
    assert prefixes[mask].std() > 0.1
    assert_close(prefixes[mask], torch.stack(cut), atol=1e-5, rtol=1e-5)
    last = prefixes.gather(1, last_positions(mask)[:, None])[:, 0]
    assert_close(last, reward_model.score(ids, mask, with_attention=False).scores)
    reward_model.require_causal(ids, mask)


def bidirectional(build: BuildModel) -> Any:
    """A decoder whose attention looks ahead, as embedding models made of one."""
    return build("gemma3_text", use_bidirectional_attention=True, num_key_value_heads=2, head_dim=8)


def test_a_model_that_looks_ahead_is_refused_for_red(tiny_classifier: BuildModel):
    reward_model = RewardModel(bidirectional(tiny_classifier))
    ids, mask = ragged_batch("left")
    with pytest.raises(InputError) as refused:
        reward_model.require_causal(ids, mask)
    line = str(refused.value)
    assert line.startswith("reward.mode: red needs a causal reward model, ")
    assert "received model type 'gemma3_text' whose scores differ by " in line
    assert "\n" not in line
    # The same in one direction is not.
    RewardModel(tiny_classifier("gemma3_text", num_key_value_heads=2, head_dim=8)).require_causal(
        ids, mask
    )


def test_a_score_that_is_no_number_is_no_agreement(tiny_classifier: BuildModel):
    model: Any = tiny_classifier()
    with torch.no_grad():
        model.score.weight[1, 0] = float("nan")
    with pytest.raises(InputError, match=r"red needs a causal reward model"):
        RewardModel(model).require_causal(*ragged_batch("right"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gptj"])
def test_a_coarse_number_format_does_not_pass_for_looking_ahead(
    tiny_classifier: BuildModel, architecture, dtype
):
    model: Any = tiny_classifier(architecture, num_hidden_layers=8)
    RewardModel(model.to(dtype)).require_causal(*ragged_batch("left"))
    with pytest.raises(InputError, match=r"red needs a causal reward model"):
        RewardModel(bidirectional(tiny_classifier).to(dtype)).require_causal(*ragged_batch("left"))
