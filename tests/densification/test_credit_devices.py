"""How the core computes: on the inputs' device, without loops over rows, with one wait at most."""

from collections import Counter
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from abcrl.densification import (
    Alignment,
    Credit,
    Evidence,
    RewardMode,
    TokenScores,
    assign_credit,
    assign_token_scores,
    blend,
    densify,
    fit_position_profile,
    prefix_differences,
    resample_weights,
)
from abcrl.densification import credit as credit_module
from abcrl.densification import prefixes as prefixes_module
from abcrl.densification import resampling as resampling_module
from abcrl.densification import spread as spread_module
from tests.densification.cases import WEIGHT_MODES

Call = Callable[[Evidence], Credit | TokenScores | Tensor]

# Operations whose result the host has to wait for.
WAITS = {
    "aten._local_scalar_dense.default",
    "aten.nonzero.default",
    "aten.masked_select.default",
    "aten.equal.default",
}


class CountOperations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self,
        operation: Callable[..., Any],
        types: Any,
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        self.counts[str(operation)] += 1
        return operation(*args, **(kwargs or {}))

    @property
    def waits(self) -> int:
        return sum(self.counts[name] for name in WAITS)


def batch_of(rows: int, columns: int, device: str = "cpu") -> Evidence:
    mask = torch.ones(rows, columns, dtype=torch.bool, device=device)
    attention = torch.ones(rows, columns, device=device)
    return Evidence(
        mask,
        attention,
        attention[:, :, None] * attention[:, None, :].tril(-1),
        noise=attention / 2,
        bank_row=attention,
        profile=torch.ones(10, device=device),
        prefix_scores=torch.ones(rows, columns + 1, device=device),
    )


def operations_of(call: Call, rows: int, columns: int) -> CountOperations:
    evidence = batch_of(rows, columns)
    counting = CountOperations()
    with counting:
        call(evidence)
    return counting


def weights_and_scores(evidence: Evidence) -> tuple[Tensor, Tensor]:
    weights = evidence.response_mask.float() / evidence.response_mask.shape[1]
    return weights, 3 * weights[:, 0]


def call_assign_credit(mode: RewardMode, alignment: Alignment) -> Call:
    return lambda evidence: assign_credit(mode, evidence, alignment=alignment)


def call_densify(evidence: Evidence) -> Tensor:
    weights, scores = weights_and_scores(evidence)
    return densify(scores, weights, evidence.response_mask, 0.8)


def call_blend(evidence: Evidence) -> Tensor:
    weights, scores = weights_and_scores(evidence)
    return blend(weights, scores, evidence.response_mask, 0.8)


def call_prefix_differences(evidence: Evidence) -> Tensor:
    assert evidence.prefix_scores is not None
    _, scores = weights_and_scores(evidence)
    return prefix_differences(evidence.prefix_scores, scores, evidence.response_mask)


def call_resample(evidence: Evidence) -> Tensor:
    weights, _ = weights_and_scores(evidence)
    return resample_weights(weights, evidence.response_mask, evidence.response_mask[:, 1:])


def call_fit_profile(evidence: Evidence) -> Tensor:
    return fit_position_profile(weights_and_scores(evidence)[0], evidence.response_mask)


def call_assign_token_scores(mode: RewardMode) -> Call:
    return lambda evidence: assign_token_scores(mode, evidence, weights_and_scores(evidence)[1], 1)


def flatten(outputs: Any) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    return [tensor for output in outputs for tensor in flatten(output)]


CALLS = [
    pytest.param(call_densify, id="densify"),
    pytest.param(call_blend, id="blend"),
    pytest.param(call_prefix_differences, id="prefix-differences"),
    pytest.param(call_resample, id="resample"),
    pytest.param(call_fit_profile, id="fit-profile"),
    *(
        pytest.param(call_assign_credit(mode, alignment), id=f"{mode}-{alignment}")
        for mode in WEIGHT_MODES
        for alignment in get_args(Alignment)
    ),
]
BOTH = [
    pytest.param(call_assign_token_scores(mode), id=f"{mode}-token-scores") for mode in RewardMode
]


@pytest.mark.parametrize("call", CALLS)
def test_good_input_waits_for_the_device_once(call):
    assert operations_of(call, rows=3, columns=5).waits == 1


@pytest.mark.parametrize("call", BOTH)
def test_credit_and_token_scores_together_wait_twice(call):
    assert operations_of(call, rows=3, columns=5).waits == 2


@pytest.mark.parametrize("call", [*CALLS, *BOTH])
def test_no_loop_over_rows_or_tokens(call):
    assert operations_of(call, 1, 2).counts == operations_of(call, 17, 33).counts


@pytest.mark.parametrize("call", [*CALLS, *BOTH])
def test_everything_stays_on_the_device_of_the_inputs(call, monkeypatch):
    # torch's meta device stands in for a GPU: like one it refuses to be mixed with the CPU. It
    # holds no values to check, so the value checks are left out.
    for module in [credit_module, spread_module, prefixes_module, resampling_module]:
        monkeypatch.setattr(module, "enforce", lambda *_rules: None)
    outputs = flatten(call(batch_of(3, 5, device="meta")))
    assert {output.device.type for output in outputs} == {"meta"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("call", [*CALLS, *BOTH])
def test_a_gpu_agrees_with_the_cpu(call):
    on_cpu, on_gpu = (flatten(call(batch_of(3, 5, device=name))) for name in ("cpu", "cuda"))
    torch.testing.assert_close(on_gpu, on_cpu, check_device=False, rtol=0, atol=1e-6)


def test_default_dtype_and_autocast_change_nothing():
    evidence = batch_of(2, 7)
    plain = assign_credit("abc-d", evidence).weights
    torch.set_default_dtype(torch.float64)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            weights = assign_credit("abc-d", evidence).weights
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(weights, plain)
