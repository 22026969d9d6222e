"""Random cases for the properties of the core: masks, evidence with garbage off it, scores."""

from dataclasses import fields
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor

from abcrl.densification import Alignment, Evidence, RewardMode, TokenScores, assign_token_scores
from abcrl.densification.modes import MODES, ModeSpec

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
WEIGHT_MODES = [mode for mode in RewardMode if isinstance(MODES[mode], ModeSpec)]
SIGNED_MODES = [mode for mode in RewardMode if mode not in WEIGHT_MODES]


class Case(NamedTuple):
    alignment: Alignment
    dtype: torch.dtype
    evidence: Evidence
    scores: Tensor
    beta: float

    @property
    def mask(self) -> Tensor:
        return self.evidence.response_mask

    def run(self, mode: str) -> TokenScores:
        return assign_token_scores(
            mode, self.evidence, self.scores, self.beta, alignment=self.alignment
        )


def fields_of(evidence: Evidence) -> dict[str, Tensor]:
    """Everything but the mask."""
    names = [field.name for field in fields(Evidence) if field.name != "response_mask"]
    return {name: getattr(evidence, name) for name in names}


@st.composite
def masks(draw):
    """Up to five rows of 1 to 24 columns: padded left, right, on both sides, or full of holes."""
    width = draw(st.integers(1, 24))
    rows = []
    for _ in range(draw(st.integers(1, 5))):
        if draw(st.booleans()):  # any pattern but the empty one
            bits = draw(st.integers(1, 2**width - 1))
            rows.append([bool(bits >> column & 1) for column in range(width)])
        else:
            start = draw(st.integers(0, width - 1))
            stop = draw(st.integers(start + 1, width))
            rows.append([start <= column < stop for column in range(width)])
    return torch.tensor(rows)


def draw_attention(
    shape: tuple[int, ...], dtype: torch.dtype, kind: str, generator: torch.Generator
) -> Tensor:
    """Non-negative values of one kind: everyday, mostly zero, denormal, next to overflow."""
    values = torch.rand(shape, generator=generator, dtype=torch.float64)
    if kind == "sparse":
        values = values * (torch.rand(shape, generator=generator) < 0.1)
    if kind == "tiny":
        smallest = torch.finfo(dtype).smallest_normal
        values = values * max(smallest, torch.finfo(torch.float32).smallest_normal)
    if kind == "huge":
        values = values * min(torch.finfo(dtype).max, torch.finfo(torch.float32).max)
    return values.to(dtype)


def draw_noise(
    shape: tuple[int, ...], dtype: torch.dtype, kind: str, generator: torch.Generator
) -> Tensor:
    """Random numbers in [0, 1): everyday, or with ties and zeros."""
    values = 0.99 * torch.rand(shape, generator=generator, dtype=torch.float64)
    return ((values * 4).floor() / 4 if kind == "sparse" else values).to(dtype)


def read_prefixes(mask: Tensor) -> Tensor:
    """[B, R + 1]: True before the first response token and after all but the last."""
    counts = torch.zeros(mask.shape[0], mask.shape[1] + 1, dtype=torch.bool)
    for row, tokens in enumerate(mask):
        columns = tokens.nonzero()[:, 0]
        counts[row, columns[0]] = True
        counts[row, columns[:-1] + 1] = True
    return counts


def counted(mask: Tensor) -> dict[str, Tensor]:
    """Which entries of each field count."""
    pairs = mask[:, :, None] & mask[:, None, :]
    return {
        "reward_attention": mask,
        "policy_attention": pairs,
        "noise": mask,
        "bank_row": mask,
        "profile": torch.ones(10, dtype=torch.bool),
        "prefix_scores": read_prefixes(mask),
    }


def spoil(values: Tensor, counts: Tensor) -> Tensor:
    """Write garbage wherever evidence does not count."""
    return values.masked_fill(~counts, float("nan"))


@st.composite
def cases(draw):
    mask = draw(masks())
    B, R = mask.shape
    dtype = draw(st.sampled_from(DTYPES))
    kind = draw(st.sampled_from(["everyday", "sparse", "tiny", "huge"]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    size: float = draw(st.sampled_from([0.0, 1e-3, 1.0, 1e3]))

    def any_sign(*shape: int) -> Tensor:
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        return (size * values).to(dtype)

    observed: dict[str, Any] = {
        "reward_attention": draw_attention((B, R), dtype, kind, generator),
        "policy_attention": draw_attention((B, R, R), dtype, kind, generator).tril(-1),
        "noise": draw_noise((B, R), dtype, kind, generator),
        "bank_row": draw_attention((B, R), dtype, kind, generator),
        "profile": draw_attention((10,), dtype, kind, generator),
        "prefix_scores": any_sign(B, R + 1),
    }
    counts = counted(mask)
    return Case(
        alignment=draw(st.sampled_from(["attended", "paper"])),
        dtype=dtype,
        evidence=Evidence(mask, **{name: spoil(observed[name], counts[name]) for name in observed}),
        scores=any_sign(B),
        beta=draw(st.sampled_from([0.0, 0.3, 0.8, 1.0])),
    )
