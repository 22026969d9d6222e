"""Controls for abc: each keeps something of its credit and drops the rest.

| mode | keeps | drops |
| --- | --- | --- |
| shuffled | this response's weights | which token has which |
| swapped | where along a response credit lies, and how sparse it is | what this response says |
| position | where along a response credit lies on average | all else |
| random | how sparse this response's credit is | all else |

None of them is in the paper. The same contract holds as for `modes`: raw credit from evidence in
float32 that is 0 wherever it does not count.
"""

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from .dirichlet import log_gamma_quantiles, matching_concentration
from .resampling import stretch
from .scaling import scale_to_unit_peak, widest_float


def shuffle_scored_row(
    response_mask: Bool[Tensor, "B R"],
    reward_attention: Float32[Tensor, "B R"],
    noise: Float32[Tensor, "B R"],
) -> Float32[Tensor, "B R"]:
    """shuffled: abc's credit in another order; the token with the k-th smallest noise gets R[k].

    Equal noise goes by position. Averaged over the noise every token gets 1 / r: like `random`, the
    mode has the expected gradient of `uniform`, and differs from it in variance alone.
    """
    by_position = (~response_mask).to(torch.uint8).argsort(dim=-1, stable=True)
    # Noise is below 1, so 2 sorts padding and holes behind the response, as by_position does.
    by_noise = noise.masked_fill(~response_mask, 2).argsort(dim=-1, stable=True)
    return torch.zeros_like(noise).scatter(-1, by_noise, reward_attention.gather(-1, by_position))


def donated_row(
    _response_mask: Bool[Tensor, "B R"], bank_row: Float32[Tensor, "B R"]
) -> Float32[Tensor, "B R"]:
    """swapped: abc's credit of another response, from a frozen bank, w[j] = D[j].

    `resample_weights` has brought it to this length; a donor of the same length is not changed.
    """
    return bank_row


def profile_at_tokens(
    response_mask: Bool[Tensor, "B R"], profile: Float32[Tensor, "10"]
) -> Float32[Tensor, "B R"]:
    """position: the mean profile of abc's credit, laid over each response (`resample_weights`).

    A token gets the profile's mass between j / r and (j + 1) / r of the way.
    """
    profile = scale_to_unit_peak(profile, dims=(0,)).expand(response_mask.shape[0], -1)
    return stretch(profile, torch.ones_like(profile, dtype=torch.bool), response_mask)


def dirichlet_row(
    response_mask: Bool[Tensor, "B R"],
    reward_attention: Float32[Tensor, "B R"],
    noise: Float32[Tensor, "B R"],
) -> Float32[Tensor, "B R"]:
    """random: w ~ Dirichlet(alpha, ..., alpha), as sparse as abc's credit of the same response.

    alpha makes the mean of 1 / N_eff over draws abc's 1 / N_eff (`matching_concentration`). No
    credit where abc has none.
    """
    # alpha depends on r - N and N - 1, which cancel: N in float64. It also holds the square of
    # whatever float32 holds, so attention may be on any scale.
    wide = widest_float(noise.device)
    attention = reward_attention.to(wide)
    mass = attention.sum(-1, keepdim=True)
    effective = mass.square() / attention.square().sum(-1, keepdim=True).where(mass > 0, 1)
    lengths = response_mask.sum(-1, keepdim=True)
    concentration = matching_concentration(effective, lengths).expand_as(attention)
    logs = log_gamma_quantiles(noise.to(wide), concentration)
    peak = logs.masked_fill(~response_mask, -torch.inf).amax(-1, keepdim=True)
    draws = (logs - peak).exp().masked_fill(~response_mask | (mass == 0), 0)
    return draws.to(torch.float32)
