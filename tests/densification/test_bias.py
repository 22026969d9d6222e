"""What densifying does not promise: the pencil example of the package docstring.

After `x`, continuing with A scores 1 and all credit is x's; continuing with B scores 0.5 and all
credit is B's own. A is the better continuation.
"""

import pytest
import torch

from abcrl.densification import Evidence, assign_credit, densify

# Two responses, (x, A) and (x, B), and the reward model's attention to their tokens.
EVIDENCE = Evidence(
    torch.ones(2, 2, dtype=torch.bool), reward_attention=torch.tensor([[1.0, 0.0], [0.0, 1.0]])
)
SCORES = torch.tensor([1.0, 0.5])


@pytest.mark.parametrize(
    ("mode", "beta", "reward_of_a", "reward_of_b"),
    [
        # All of A's score went to x: 1 * 0. All of B's is its own: 0.5 * 1.
        ("abc", 1.0, 0.0, 0.5),
        # A keeps the unspread fifth, 0.2 * 1. B: 0.8 * 0.5 + 0.2 * 0.5.
        ("abc", 0.8, 0.2, 0.5),
        # The sparse reward prefers A, as the scores do.
        ("rlhf", 1.0, 1.0, 0.5),
    ],
)
def test_reward_to_go_of_the_second_token(mode, beta, reward_of_a, reward_of_b):
    token_scores = densify(
        SCORES, assign_credit(mode, EVIDENCE).weights, EVIDENCE.response_mask, beta
    )
    # The second token is the last: its reward-to-go is its own token score.
    torch.testing.assert_close(token_scores[:, 1], torch.tensor([reward_of_a, reward_of_b]))
    # The return of each response, all the same, is its score.
    torch.testing.assert_close(token_scores.sum(-1), SCORES)


def test_a_constant_score_does_not_reward_all_continuations_alike():
    # Two continuations that score the same, 5: the sparse reward sees no difference, abc does.
    constant = torch.tensor([5.0, 5.0])
    mask = EVIDENCE.response_mask
    sparse = densify(constant, assign_credit("rlhf", EVIDENCE).weights, mask, 1.0)
    dense = densify(constant, assign_credit("abc", EVIDENCE).weights, mask, 1.0)
    assert sparse[:, 1].tolist() == [5.0, 5.0]
    assert dense[:, 1].tolist() == [0.0, 5.0]
