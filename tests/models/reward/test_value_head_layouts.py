"""MLPs as value heads: linear layers by their numbers, an activation between any two."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from abcrl.models.reward.value_head import build_value_head
from tests.models.reward.value_heads import WIDTH, draw


def saved(module: nn.Module) -> dict[str, Tensor]:
    """Returns a module's weights, drawn anew."""
    return {
        name: draw(*tensor.shape, seed=number)
        for number, (name, tensor) in enumerate(module.state_dict().items())
    }


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Linear(WIDTH, 1)),
        nn.Sequential(nn.Linear(WIDTH, 7), nn.ReLU(), nn.Linear(7, 1, bias=False)),
        nn.Sequential(nn.Dropout(0.1), nn.Linear(WIDTH, 7), nn.ReLU(), nn.Linear(7, 1)),
        nn.Sequential(nn.Linear(WIDTH, 7), nn.ReLU(), nn.Dropout(0.1), nn.Linear(7, 1)),
        nn.Sequential(*(part for n in range(5) for part in (nn.Linear(WIDTH, WIDTH), nn.ReLU()))),
    ],
    ids=["one", "two", "dropout first", "dropout between", "twelve positions"],
)
def test_a_sequential_is_rebuilt_from_its_weights(module: nn.Sequential):
    if len(module) == 10:
        module = nn.Sequential(*module, nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1))
    weights = saved(module)
    module.load_state_dict(weights)
    hidden = draw(3, 4, WIDTH, seed=9)
    head = build_value_head(weights, WIDTH, "relu")
    with torch.no_grad():
        assert_close(head(hidden), module.eval()(hidden), atol=1e-4, rtol=1e-5)


def test_the_activation_is_the_configured_one():
    weights = saved(nn.Sequential(nn.Linear(WIDTH, 7), nn.Tanh(), nn.Linear(7, 1)))
    hidden = draw(5, WIDTH)
    inside = torch.tanh(hidden @ weights["0.weight"].T + weights["0.bias"])
    expected = inside @ weights["2.weight"].T + weights["2.bias"]
    with torch.no_grad():
        assert_close(build_value_head(weights, WIDTH, "tanh")(hidden), expected)


@pytest.mark.parametrize(
    "weights",
    [
        {"fc1.weight": draw(7, WIDTH), "fc2.weight": draw(1, 7)},
        {"0.weight": draw(7, WIDTH), "2.weight": draw(1, 6)},
        {"0.weight": draw(7, WIDTH), "2.weight": draw(2, 7)},
        {"0.weight": draw(7, WIDTH), "1.weight": draw(7), "2.weight": draw(1, 7)},  # a norm
        {"0.weight": draw(7, WIDTH), "weight": draw(1, 7)},
    ],
)
def test_what_cannot_be_interpreted_is_refused(weights: dict[str, Tensor]):
    with pytest.raises(ValueError, match="its v_head"):
        build_value_head(weights, WIDTH, "relu")
