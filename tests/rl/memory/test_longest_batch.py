"""The longest batches: their widths, and padding where a run's batches have some."""

import pytest
import torch

from abcrl.config import PpoSettings
from abcrl.rl.memory.longest_batch import longest_experience, longest_responses

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("prompt", "response", "lengths", "real"),
    [
        ((2, 4), (3, 5), [5, 5, 5], [9, 8, 8]),  # padding on the left
        ((4, 4), (3, 5), [5, 4, 4], [9, 8, 8]),  # on the right
        ((4, 4), (5, 5), [5, 5, 5], [9, 9, 9]),  # none
    ],
)
def test_rows_are_as_long_as_they_may_be(prompt, response, lengths, real):
    settings = PpoSettings.model_validate(
        {
            "prompt": {"min_tokens": prompt[0], "max_tokens": prompt[1]},
            "response": {
                "min_new_tokens": response[0],
                "cap_low": response[0],
                "cap_high": response[1],
            },
        }
    )
    responses = longest_responses(settings, 3, CPU)
    assert (responses.prompt_width, responses.response_width) == (4, 5)
    assert responses.lengths.tolist() == lengths
    assert responses.attention_mask.sum(-1).tolist() == real
    experience = longest_experience(settings, 3, CPU)
    assert all(tensor is not None and tensor.shape == (3, 5) for tensor in experience[1:])
