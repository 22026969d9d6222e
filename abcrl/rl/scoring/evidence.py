"""Evidence of a batch of responses, gathered from the networks and from what was frozen."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from abcrl.config import InputError, RewardConfig, RewardMode
from abcrl.config.reward import EvidenceConfig
from abcrl.data import Prompt
from abcrl.densification import Evidence, TokenScores, assign_token_scores, needs
from abcrl.models import Capture, capture_attention, verify_capture
from abcrl.rl.sampling.responses import Responses
from abcrl.rl.sampling.sampler import SharedDraws

from .reference_credit import ReferenceCredit
from .scorer import Scored, Scorer

# What a reference's credit is made of, where a mode needs one.
_FROM_REFERENCE = frozenset({"bank_row", "profile"})


def needs_reference(mode: RewardMode) -> bool:
    """Whether the mode looks at the frozen credit of SFT responses."""
    return bool(needs(mode) & _FROM_REFERENCE)


def gather_evidence(
    responses: Responses,
    scored: Scored,
    policy_attention: Float[Tensor, "B R R"] | None,
    *,
    prompts: Sequence[Prompt],
    draws: SharedDraws,
    reference: ReferenceCredit | None,
) -> Evidence:
    """Returns all evidence there is of some responses.

    What is drawn for a response (noise, which donor) is seeded by its prompt and comes from streams
    of its own: the response itself was sampled with other numbers.
    """
    mask = responses.response_mask
    bank_row = profile = None
    if reference is not None:
        profile = reference.profile
        bank_row = reference.donate(mask, draws.uniforms(prompts, "donor")[:, 0].to(mask.device))
    noise = draws.uniforms(prompts, "credit")[:, : responses.response_width]
    return Evidence(
        mask,
        reward_attention=scored.reward_attention,
        policy_attention=policy_attention,
        noise=noise.to(mask.device),
        bank_row=bank_row,
        profile=profile,
        prefix_scores=scored.prefix_scores,
    )


def spread_scores(
    scores: Float[Tensor, " B"], evidence: Evidence, reward: RewardConfig
) -> TokenScores:
    """Returns the credit of the configured mode and the token scores, which sum to the score."""
    # rlhf has no beta: its credit is on the last token already, where the rest would go too.
    beta = 1.0 if reward.effective_beta is None else reward.effective_beta
    return assign_token_scores(reward.mode, evidence, scores, beta, alignment=reward.alignment)


def chosen_from(responses: Responses) -> Int[Tensor, "B R"]:
    """Returns the sequence position that each response token was chosen from, P - 1 + k."""
    P, (B, R) = responses.prompt_width, responses.response_mask.shape
    return torch.arange(P - 1, P + R - 1, device=responses.sequences.device).expand(B, R)


@contextmanager
def capture_policy(
    policy: PreTrainedModel, responses: Responses, options: EvidenceConfig
) -> Iterator[Capture]:
    """Captures the policy's attention among response tokens in the forward pass run inside."""
    P, R = responses.prompt_width, responses.response_width
    with capture_attention(
        policy,
        chosen_from(responses),
        columns=slice(P, P + R),
        layer=options.layer,
        heads=options.heads,
    ) as capture:
        yield capture


def verify_evidence(
    mode: RewardMode,
    responses: Responses,
    *,
    scorer: Scorer,
    policy: PreTrainedModel | None,
    options: EvidenceConfig,
) -> None:
    """Refuses a mode whose evidence these networks do not give, or give wrongly.

    A few responses are enough: what is asked is whether captured attention is what eager attention
    computes, and whether the reward model is causal where that counts.

    Raises:
        InputError: It names the architecture and what to do.
    """
    wanted = needs(mode)
    if needs_reference(mode):
        wanted |= {"reward_attention"}
    scorer.verify(responses, wanted)
    if "policy_attention" not in wanted:
        return
    if policy is None:
        raise InputError(
            f"policy: must be given for reward mode {mode}, which reads its attention; name one "
            f"with --policy"
        )
    verify_capture(
        policy,
        responses.sequences,
        responses.attention_mask,
        chosen_from(responses),
        layer=options.layer,
        heads=options.heads,
    )
