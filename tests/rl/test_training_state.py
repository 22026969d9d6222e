import copy

import pytest
import torch
from torch import nn

from abcrl.rl.training_state import fingerprint, restore_training, training_tensors


class Tied(nn.Module):
    """Two layers that share a weight, a frozen one, and one that gets no gradient."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.frozen = nn.Linear(3, 3).requires_grad_(False)
        self.idle = nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.second(self.frozen(self.first(x)).relu())
        return out


def make(**options: object) -> tuple[Tied, torch.optim.Optimizer]:
    policy = Tied()
    parameters = [p for p in policy.parameters() if p.requires_grad]
    return policy, torch.optim.Adam(parameters, lr=1e-2, **options)  # type: ignore[arg-type]


def train(policy: Tied, optimizer: torch.optim.Optimizer, steps: int, start: int = 0) -> None:
    for step in range(start, start + steps):
        draw = torch.Generator().manual_seed(step)
        loss = policy(torch.randn(4, 3, generator=draw)).square().sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def test_it_is_what_training_changes_and_nothing_else():
    policy, optimizer = make()
    before = training_tensors(policy, optimizer)
    names = ["idle", "first.weight", "first.bias", "second.bias"]
    assert sorted(before) == sorted(f"parameter/{name}" for name in names)
    train(policy, optimizer, 1)
    stepped = [name for name in names if name != "idle"]
    assert sorted(training_tensors(policy, optimizer)) == sorted(
        [*before]
        + [
            f"optimizer/{key}/{name}"
            for key in ("exp_avg", "exp_avg_sq", "step")
            for name in stepped
        ]
    )


@pytest.mark.parametrize("options", [{}, {"fused": True}, {"amsgrad": True}])
@pytest.mark.parametrize("steps", [0, 3])
def test_training_goes_on_bit_by_bit(options, steps):
    policy, optimizer = make(**options)
    train(policy, optimizer, steps)
    tensors = {name: t.clone() for name, t in training_tensors(policy, optimizer).items()}
    train(policy, optimizer, 5, start=steps)

    again, other = make(**options)
    train(again, other, 2, start=77)  # whatever it was before
    if steps == 0:
        again, other = make(**options)
    parameters = list(again.parameters())
    restore_training(again, other, tensors)
    assert all(one is two for one, two in zip(again.parameters(), parameters, strict=True))
    train(again, other, 5, start=steps)
    restored, wanted = training_tensors(again, other), training_tensors(policy, optimizer)
    assert restored.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(restored[name], tensor), name
        assert restored[name].dtype == tensor.dtype


def test_the_tensors_are_not_shared_with_the_optimizer():
    policy, optimizer = make()
    train(policy, optimizer, 1)
    tensors = {name: t.clone() for name, t in training_tensors(policy, optimizer).items()}
    kept = copy.deepcopy(tensors)
    again, other = make()
    restore_training(again, other, tensors)
    train(again, other, 2)
    assert all(torch.equal(tensors[name], kept[name]) for name in kept)


def test_the_learning_rate_in_force_stays():
    policy, optimizer = make()
    train(policy, optimizer, 1)
    again, other = make()
    other.param_groups[0]["lr"] = 0.5
    restore_training(again, other, training_tensors(policy, optimizer))
    assert other.param_groups[0]["lr"] == 0.5


def test_tensors_of_other_things_are_passed_over():
    policy, optimizer = make()
    tensors = training_tensors(policy, optimizer) | {"reference/profile": torch.ones(10)}
    restore_training(policy, optimizer, tensors)


@pytest.mark.parametrize("change", ["missing", "another shape", "unknown"])
def test_those_of_another_policy_are_refused_and_change_nothing(change):
    policy, optimizer = make()
    tensors = {name: t.clone() for name, t in training_tensors(policy, optimizer).items()}
    name = {"unknown": "parameter/third.bias"}.get(change, "parameter/second.bias")
    if change == "missing":
        del tensors[name]
    else:
        tensors[name] = torch.ones(7)
    tensors["parameter/first.weight"].zero_()
    with pytest.raises(ValueError, match=name.removeprefix("parameter/")):
        restore_training(policy, optimizer, tensors)
    assert policy.first.weight.abs().sum() > 0


def test_a_fingerprint_is_of_names_types_shapes_and_bytes():
    network = Tied()
    assert fingerprint(network) == fingerprint(Tied())
    assert len(fingerprint(network)) == 32
    others = [Tied() for _ in range(4)]
    with torch.no_grad():
        others[0].frozen.bias[0] += 1e-6
    others[1].register_buffer("more", torch.zeros(0))
    others[2].idle = nn.Parameter(torch.ones(1, 2))
    others[3].double()
    prints = {fingerprint(one) for one in [network, *others]}
    assert len(prints) == 5
    assert fingerprint(others[3].bfloat16()) != fingerprint(network)
