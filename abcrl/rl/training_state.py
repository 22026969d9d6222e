"""What training has changed, as named tensors, and back into the objects that hold it.

The parameters that are trained and the optimizer's memory of each of them; what is frozen comes
from where it was loaded from, and `fingerprint` says whether it is still the same.
"""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from abcrl.config import RunFailedError

_PARAMETER, _OPTIMIZER = "parameter/", "optimizer/"


def training_tensors(policy: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Returns the trained parameters and the optimizer's state of each, without a copy.

    Args:
        policy: Its parameters with `requires_grad` are taken, under their names; tied ones once.
        optimizer: Of just those parameters. A parameter that it has not stepped yet has no state.

    Returns:
        `parameter/<name>`, and `optimizer/<key>/<name>` for each key of the optimizer's state (of
        Adam: exp_avg, exp_avg_sq, step).
    """
    tensors: dict[str, Tensor] = {}
    for name, parameter in _trained(policy).items():
        tensors[_PARAMETER + name] = parameter.detach()
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{_OPTIMIZER}{key}/{name}"] = value.detach()
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


@torch.no_grad()
def restore_training(
    policy: nn.Module, optimizer: Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Puts back, bit by bit, what `training_tensors` returned.

    The optimizer's groups, learning rates included, stay as they are.

    Args:
        policy: Changed in place; the parameters stay the same objects, on their device.
        optimizer: Of its trained parameters.
        tensors: Others than those of parameters and optimizer are passed over.

    Raises:
        ValueError: They are not those of this policy; nothing was changed then.
    """
    trained = _trained(policy)
    stored = {
        name.removeprefix(_PARAMETER): tensor
        for name, tensor in tensors.items()
        if name.startswith(_PARAMETER)
    }
    _require_same_shapes(trained, stored)
    names = {id(parameter): name for name, parameter in trained.items()}
    content = optimizer.state_dict()
    # A state dict numbers the parameters in the order of the groups.
    order = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
    keys = {name.split("/")[1] for name in tensors if name.startswith(_OPTIMIZER)}
    state: dict[int, dict[str, Tensor]] = {}
    for number, name in enumerate(order):
        found = {key: tensors.get(f"{_OPTIMIZER}{key}/{name}") for key in keys}
        present = {key: tensor.clone() for key, tensor in found.items() if tensor is not None}
        if present:
            state[number] = present
    for name, parameter in trained.items():
        parameter.copy_(stored[name])
    optimizer.load_state_dict({**content, "state": state})


def fingerprint(network: nn.Module) -> str:
    """Returns a hash of the names, types, shapes and bytes of a network's parameters and buffers.

    Returns:
        32 hexadecimal digits, the same on every device.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _trained(policy: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in policy.named_parameters() if p.requires_grad}


def _require_same_shapes(trained: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> None:
    def shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in tensors.items()}

    wanted, received = shapes(trained), shapes(stored)
    differing = sorted(
        name for name in {*wanted, *received} if wanted.get(name) != received.get(name)
    )
    if differing:
        name = differing[0]
        raise ValueError(
            f"tensors must be those of the policy's trained parameters: {name} must be "
            f"{wanted.get(name)}, received {received.get(name)}"
        )


def require_finite_weights(tensors: Mapping[str, Tensor], advice: str) -> None:
    """Refuses weights, or an optimizer's memory of them, that no run can go on from.

    The extremes of a tensor are finite where all of it is, and take no copy of it.

    Raises:
        RunFailedError: Names the first that is not finite.
    """
    finite: dict[torch.device, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        extremes = torch.stack(tensor.aminmax())
        finite.setdefault(tensor.device, {})[name] = extremes.isfinite().all()
    for found in finite.values():
        for name, good in zip(found, torch.stack(list(found.values())).tolist(), strict=True):
            if not good:
                raise RunFailedError(f"weights are not finite ({name}); {advice}")
