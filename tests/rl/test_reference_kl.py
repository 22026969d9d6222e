"""The KL loss terms: their gradient is that of the KL."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from abcrl.rl.formulas.logprobs import BANNED_LOGIT
from abcrl.rl.reference_kl import exact_loss_sum, k2_loss_sum
from abcrl.rl.sampling.responses import Responses


def responses_of(mask: list[list[bool]]) -> Responses:
    response_mask = torch.tensor(mask)
    prompt = torch.ones(len(mask), 1, dtype=torch.bool)
    attention_mask = torch.cat([prompt, response_mask], dim=1)
    return Responses(torch.zeros(attention_mask.shape).long(), attention_mask, response_mask)


def kl_gradient(logits: Tensor, ref_logits: Tensor) -> Tensor:
    """d KL / d logit_v = p_v * (log p_v - log q_v - KL), worked out by hand."""
    difference = logits.log_softmax(-1) - ref_logits.log_softmax(-1)
    p = logits.softmax(-1)
    return p * (difference - (p * difference).sum(-1, keepdim=True))


@pytest.fixture
def logits() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(6)
    policy, reference = (torch.randn(1, 1, 7, generator=generator).double() for _ in range(2))
    return policy.requires_grad_(), reference


def test_the_exact_loss_has_the_gradient_of_the_kl(logits):
    policy, reference = logits
    loss = exact_loss_sum(policy.float(), reference.float(), responses_of([[True]]))
    (gradient,) = torch.autograd.grad(loss, policy)
    assert_close(gradient, kl_gradient(policy.detach(), reference), atol=1e-6, rtol=1e-5)


def test_k2_has_the_gradient_of_the_kl_in_expectation(logits):
    policy, reference = logits
    logps, ref_logps = policy.log_softmax(-1), reference.log_softmax(-1)
    expected = torch.zeros_like(policy)
    for token in range(7):
        loss = k2_loss_sum(
            logps[..., token].float(), ref_logps[..., token].float(), responses_of([[True]])
        )
        (gradient,) = torch.autograd.grad(loss, policy, retain_graph=True)
        expected += logps[..., token].exp().item() * gradient
    assert_close(expected, kl_gradient(policy.detach(), reference), atol=1e-6, rtol=1e-5)


def test_k2_by_hand():
    # d = 1 and -3 count, d = 9 does not: 1/2 + 9/2
    loss = k2_loss_sum(
        torch.tensor([[1.0, -3.0, 9.0]]), torch.zeros(1, 3), responses_of([[True, True, False]])
    )
    assert loss.item() == pytest.approx(5.0)


def test_padding_and_banned_tokens_have_no_gradient():
    generator = torch.Generator().manual_seed(1)
    policy, reference = (torch.randn(2, 2, 5, generator=generator) for _ in range(2))
    policy[:, 0, 3] = reference[:, 0, 3] = BANNED_LOGIT
    policy[1, 1] = torch.nan
    policy.requires_grad_()
    responses = responses_of([[True, True], [True, False]])
    (gradient,) = torch.autograd.grad(exact_loss_sum(policy, reference, responses), policy)
    assert (gradient[:, 0, 3] == 0).all()
    assert (gradient[:, 0, :3] != 0).all()
