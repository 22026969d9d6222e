"""The distribution sampled from is the one scored."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from abcrl.rl.formulas.kl import exact_kl, token_kl
from abcrl.rl.formulas.logprobs import BANNED_LOGIT, constrain_logits, gather_logprobs
from abcrl.rl.formulas.losses import policy_loss, token_entropy

SEEDS = st.integers(0, 2**32 - 1)
EOS = 2


def test_temperature_and_ban_by_hand():
    # Weights 1 : 2 : 5. At temperature 1/2 they are squared, 1 : 4 : 25; with EOS banned 1 : 4.
    logits = torch.tensor([1.0, 2.0, 5.0]).log().expand(1, 2, 3)

    constrained = constrain_logits(logits, temperature=0.5, min_new_tokens=1, eos_token_id=EOS)

    expected = torch.tensor([[[1 / 5, 4 / 5, 0.0], [1 / 30, 4 / 30, 25 / 30]]])
    assert_close(constrained.softmax(-1), expected)
    assert constrained[0, 0, EOS] == BANNED_LOGIT


@given(SEEDS, st.integers(1, 6), st.integers(0, 8), st.floats(0.1, 3))
def test_one_position_at_a_time_gives_the_same_numbers(seed, width, min_new_tokens, temperature):
    logits = torch.randn(2, width, 5, generator=torch.Generator().manual_seed(seed))
    before = logits.clone()
    constrain = partial(
        constrain_logits,
        temperature=temperature,
        min_new_tokens=min_new_tokens,
        eos_token_id=EOS,
    )

    whole = constrain(logits)
    steps = [constrain(logits[:, k : k + 1], first_position=k) for k in range(width)]

    assert torch.equal(whole, torch.cat(steps, dim=1))
    banned = (whole[:, :, EOS] == BANNED_LOGIT).all(dim=0)
    assert banned.tolist() == [k < min_new_tokens for k in range(width)]
    assert torch.equal(logits, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_result_is_a_float32_tensor_of_its_own(dtype):
    logits = torch.ones(1, 2, 3, dtype=dtype)

    constrained = constrain_logits(logits, temperature=1.0, min_new_tokens=0, eos_token_id=EOS)
    constrained.zero_()

    assert constrained.dtype == torch.float32
    assert (logits == 1).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.0}, "temperature must be above 0, received 0.0"),
        ({"temperature": math.nan}, "temperature must be above 0, received nan"),
        ({"eos_token_id": 3}, "eos_token_id must be below the vocabulary's 3 tokens, received 3"),
        ({"eos_token_id": -1}, "received -1"),
    ],
)
def test_impossible_rules_are_refused(changes, message):
    rules = {"temperature": 1.0, "min_new_tokens": 0, "eos_token_id": EOS} | changes

    with pytest.raises(ValueError, match=message):
        constrain_logits(torch.zeros(1, 1, 3), **rules)


def test_gathered_logprobs_by_hand():
    logits = torch.tensor([1.0, 2.0, 5.0]).log().expand(1, 3, 3) + 100

    logprobs = gather_logprobs(logits, torch.tensor([[2, 0, 1]]))

    assert_close(logprobs.exp(), torch.tensor([[5 / 8, 1 / 8, 2 / 8]]), rtol=1e-4, atol=1e-5)


@given(SEEDS)
def test_gathered_logprobs_agree_with_log_softmax(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = (3 * torch.randn(2, 3, 7, generator=generator)).bfloat16()
    tokens = torch.randint(7, (2, 3), generator=generator)

    logprobs = gather_logprobs(logits, tokens)

    expected = logits.float().log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
    assert_close(logprobs, expected)


@given(SEEDS)
def test_under_an_eos_ban_every_gradient_is_finite_and_none_reaches_the_banned(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 4, 5, generator=generator).requires_grad_()
    tokens = torch.randint(2, (2, 4), generator=generator)  # not EOS
    constrain = partial(constrain_logits, temperature=0.7, min_new_tokens=2, eos_token_id=EOS)
    reference = constrain(torch.randn(2, 4, 5, generator=generator))

    constrained = constrain(logits)
    logprobs = gather_logprobs(constrained, tokens)
    old_logprobs = gather_logprobs(reference, tokens)
    everywhere = torch.ones(2, 4, dtype=torch.bool)
    policy = policy_loss(logprobs, old_logprobs, torch.ones(2, 4), everywhere, 0.2)
    logps = constrained.log_softmax(-1)
    divergence, entropy = exact_kl(logps, reference.log_softmax(-1)), token_entropy(logps)
    objective = policy.loss_sum + (divergence - entropy).sum()
    (gradient,) = torch.autograd.grad(objective, logits)

    assert objective.isfinite()
    assert gradient.isfinite().all()
    assert (gradient[:, :2, EOS] == 0).all()


@given(SEEDS, st.sampled_from([0.7, 1.0]), st.sampled_from([torch.float32, torch.float64]))
def test_banned_in_place_it_is_the_same_distribution_and_gradient(seed, temperature, dtype):
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(2, 4, 3, generator=generator, dtype=dtype)
    head = torch.randn(5, 3, generator=generator, dtype=dtype).requires_grad_()
    tokens = torch.randint(2, (2, 4), generator=generator)  # not EOS
    found = []
    for in_place in (False, True):
        logits = constrain_logits(
            states @ head.T,
            temperature=temperature,
            min_new_tokens=2,
            eos_token_id=EOS,
            in_place=in_place,
        )
        logprobs = gather_logprobs(logits, tokens)
        divergence = exact_kl(logits.log_softmax(-1), torch.zeros(2, 4, 5).log_softmax(-1))
        (gradient,) = torch.autograd.grad((logprobs - divergence).sum(), head)
        found.append((logits, logprobs, gradient))

    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


def test_wanting_a_banned_eos_pays_nothing():
    # The paper's code bans EOS in sampling and scores without the ban: a policy that wants EOS
    # then has a KL far below 0 on what it is made to say, and is paid for it.
    reference = torch.zeros(1, 4, 5)
    eager = reference.clone()
    eager[..., EOS] = 20.0
    said = torch.tensor([[0, 1, 3, 4]])
    constrain = partial(constrain_logits, temperature=1.0, min_new_tokens=4, eos_token_id=EOS)

    unbanned = token_kl(gather_logprobs(eager, said), gather_logprobs(reference, said))
    constrained, ref_constrained = constrain(eager), constrain(reference)
    banned = token_kl(gather_logprobs(constrained, said), gather_logprobs(ref_constrained, said))

    assert unbanned.sum() < -70
    assert (banned == 0).all()
    logps, ref_logps = constrained.log_softmax(-1), ref_constrained.log_softmax(-1)
    assert (exact_kl(logps, ref_logps) == 0).all()
