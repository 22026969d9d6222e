"""red: prefix differences on a table that a reader can check with a pencil."""

import pytest
import torch

from abcrl.densification import (
    Evidence,
    assign_credit,
    assign_token_scores,
    blend,
    prefix_differences,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("mask", "prefix_scores", "spread"),
    [
        # V = 0.5 before the response, then 1, -1: differences 0.5, -2. The last token takes what is
        # left of the score 2: 2 - (-1) + 0.5 = 3.5. Sum 2. After it nothing is read.
        ([1, 1, 1], [0.5, 1, -1, NAN], [0.5, -2, 3.5]),
        ([1, 1, 1, 0], [0.5, 1, -1, NAN, NAN], [0.5, -2, 3.5, 0]),
        # Left padding: V_0 stands before the first token.
        ([0, 1, 1, 1], [NAN, 0.5, 1, -1, NAN], [0, 0.5, -2, 3.5]),
        # A hole after the first token: V_1 stands right after it, the hole's own score is not read.
        ([1, 0, 1, 1], [0.5, 1, NAN, -1, NAN], [0.5, 0, -2, 3.5]),
        # One token keeps the score.
        ([0, 1, 0], [NAN, 0.5, NAN, NAN], [0, 2, 0]),
    ],
)
def test_prefix_differences(mask, prefix_scores, spread):
    arguments = (
        torch.tensor([prefix_scores]).float(),
        torch.tensor([2.0]),
        torch.tensor([mask], dtype=torch.bool),
    )
    assert prefix_differences(*arguments).tolist() == [spread]


def test_the_mode_blends_them_and_reports_what_they_move():
    mask = torch.tensor([[True, True, True, False]])
    evidence = Evidence(mask, prefix_scores=torch.tensor([[0.5, 1, -1, NAN, NAN]]))
    scores = torch.tensor([2.0])
    credit, token_scores = assign_token_scores("red", evidence, scores, 0.5)
    # Half of (0.5, -2, 3.5), and half of the score on the last token.
    assert token_scores.tolist() == [[0.25, -1, 2.75, 0]]
    spread = torch.tensor([[0.5, -2, 3.5, 0]])
    assert torch.equal(token_scores, blend(spread, scores, mask, 0.5))
    # 0.5 + 2 + 3.5 = 6 is moved in all.
    torch.testing.assert_close(credit.weights, torch.tensor([[0.5, 2, 3.5, 0]]) / 6)
    assert credit.fell_back.tolist() == [False]


def test_an_offset_of_the_score_alone_reaches_the_last_token_only():
    # The score is centred before it is spread, prefix scores need not be.
    mask = torch.ones(1, 3, dtype=torch.bool)
    prefix_scores = torch.tensor([[5.5, 6.0, 4.0, NAN]])
    spread = prefix_differences(prefix_scores, torch.tensor([2.0]), mask)
    assert spread.tolist() == [[0.5, -2, 3.5]]


def test_a_response_that_changes_nothing_is_flagged():
    evidence = Evidence(torch.ones(1, 2, dtype=torch.bool), prefix_scores=torch.ones(1, 3))
    credit, token_scores = assign_token_scores("red", evidence, torch.zeros(1), 0.8)
    assert credit.fell_back.tolist() == [True]
    assert credit.weights.tolist() == [[0.5, 0.5]]
    assert token_scores.tolist() == [[0, 0]]


def test_signed_modes_have_no_weights():
    evidence = Evidence(torch.ones(1, 2, dtype=torch.bool), prefix_scores=torch.ones(1, 3))
    message = r"^mode must credit by weights, received 'red'; .*call assign_token_scores$"
    with pytest.raises(ValueError, match=message):
        assign_credit("red", evidence)
