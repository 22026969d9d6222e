"""What a whole PPO step holds: no vocabulary over the prompt, no attention that no mode needs.

Generation, scoring, the passes of policy and reference, the update and the held-out evaluation of
one step are watched, tensor by tensor. Every size that matters is a number of its own: prompts have
P = 23..27 tokens, responses R = 11, and nothing in the networks is as wide as that.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import pytest
import torch

from abcrl.reporter import SilentReporter
from abcrl.stages.ppo import run_ppo
from tests.allocations import Allocations, Made

PROMPT, R = range(23, 28), 11
WHOLE = range(PROMPT[0] + R, PROMPT[-1] + R + 1)
V, HIDDEN, HEADS = 400, 64, 2
BATCH, MINI_BATCH, EVALUATED = 5, 1, 6
ROWS = {BATCH, MINI_BATCH, EVALUATED}
# One position at a time in generation, those of the response in every other pass.
DISTRIBUTIONS = {BATCH, EVALUATED, *(rows * R for rows in ROWS)}
SIZES: dict[str, Any] = {
    "steps": 1,
    "prompt__min_tokens": PROMPT[0],
    "prompt__max_tokens": PROMPT[-1],
    "response__min_new_tokens": R,  # so that all responses are of one length
    "response__cap_low": R,
    "response__cap_high": R,
    "ppo__batch_size": BATCH,
    "ppo__mini_batch_size": MINI_BATCH,
    "evaluation__prompts": EVALUATED,
    "evaluation__samples": EVALUATED,
    "score__center_samples": 2,
}

Watch = Callable[..., set[Made]]


class Watching(SilentReporter):
    """Watches from where the first step begins to where it is done and evaluated."""

    def __init__(self) -> None:
        self.allocations = Allocations()

    def start(self, what: str, total: int) -> None:  # noqa: ARG002
        self.allocations.begin()

    def advance(self, done: int, numbers: object) -> None:  # noqa: ARG002
        self.allocations.end()


@pytest.fixture(scope="module")
def watch(make_tiny_runs, tiny_runs, tmp_path_factory) -> Watch:
    """watch(mode, architecture="gpt2", **changes): every tensor made in a step."""
    runs = {"gpt2": tiny_runs}

    def made(mode: str, architecture: str = "gpt2", **changes: object) -> set[Made]:
        if architecture not in runs:
            runs[architecture] = make_tiny_runs(architecture)
        reporter = Watching()
        folder = tmp_path_factory.mktemp("watched") / "run"
        run_ppo(runs[architecture].ppo(folder, mode, **{**SIZES, **changes}), reporter)
        return reporter.allocations.made

    return made


def rows_with_vocabulary(made: set[Made]) -> set[int]:
    """How many distributions over the vocabulary a tensor holds, of all tensors that hold any."""
    weights = V * HIDDEN  # embeddings, their gradient, and views of them
    return {prod(one.shape) // V for one in made if V in one.shape and one.kept != weights}


def attention_like(made: set[Made]) -> set[Made]:
    """Tensors whose last axes are both positions of prompt, response or both."""
    positions = {R, *PROMPT, *WHOLE}
    return {one for one in made if positions.issuperset(one.shape[-2:]) and len(one.shape) > 1}


def is_causal_mask(one: Made) -> bool:
    """Says which may attend to which, for all heads at once; made anew wherever sdpa is called.

    True or False, as transformers gives it to sdpa; 0 or -inf inside of sdpa.
    """
    additive = one.dtype == torch.float32 and one.operation == "aten.where.self"
    if one.dtype != torch.bool and not additive:
        return False
    rows, heads, queries, keys = one.shape if len(one.shape) == 4 else (0, 0, 0, 1)
    return rows in {1, *ROWS} and heads == 1 and queries == keys


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@pytest.mark.parametrize("mode", ["abc", "rlhf", "red"])
def test_a_step_holds_neither_prompts_over_the_vocabulary_nor_attention(
    watch: Watch, mode, architecture
):
    made = watch(mode, architecture)
    assert rows_with_vocabulary(made) == DISTRIBUTIONS
    attention = attention_like(made)
    masks = {one for one in attention if is_causal_mask(one)}
    assert attention - masks == set()
    assert {len(one.shape) for one in masks} == {4}  # the watching sees what it is to see


@pytest.mark.parametrize("networks", [{"networks__lora__rank": 2}, {}], ids=["lora", "full"])
def test_abc_d_holds_the_response_s_part_one_head_at_a_time(watch: Watch, networks):
    made = watch("abc-d", networks__value_model="separate", **networks)
    assert rows_with_vocabulary(made) == DISTRIBUTIONS
    attention = {one for one in attention_like(made) if not is_causal_mask(one)}
    assert attention
    for one in attention:
        # Response tokens alone ask; what they ask is kept for the response alone.
        assert one.shape[-2] == R, one
        assert one.kept <= EVALUATED * R * WHOLE[-1] < EVALUATED * HEADS * R * WHOLE[-1], one
    assert (BATCH, R, R) in {one.shape for one in attention}


@pytest.mark.parametrize(
    "changes",
    [
        {"kl__loss": "exact"},
        {"networks__gradient_checkpointing": True},
        {"response__cache": "static"},
    ],
)
def test_options_hold_no_more(watch: Watch, changes):
    made = watch("abc", **changes)
    assert rows_with_vocabulary(made) == DISTRIBUTIONS
    assert all(is_causal_mask(one) for one in attention_like(made))


def test_attention_written_out_would_be_seen(tiny_runs):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_runs.policy, attn_implementation="eager")
    ids = torch.ones(BATCH, WHOLE[-1], dtype=torch.long)
    with Allocations() as allocations, torch.no_grad():
        model(input_ids=ids, attention_mask=torch.ones_like(ids))
    shapes = {one.shape for one in attention_like(allocations.made) if not is_causal_mask(one)}
    assert (BATCH, HEADS, WHOLE[-1], WHOLE[-1]) in shapes
    assert BATCH * WHOLE[-1] in rows_with_vocabulary(allocations.made)
