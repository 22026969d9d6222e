"""The loss of train-rm on pairs: of its definition, whatever else is in the batch."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from abcrl.config import TrainRmConfig, stream_seed
from abcrl.data import Corpus, load_pairs
from abcrl.models import (
    RewardModel,
    load_tokenizer,
    new_classifier,
)
from abcrl.reporter import SilentReporter
from abcrl.stages.train_rm import run_train_rm
from abcrl.storage import read_rows
from abcrl.supervised.reward.preferences import Preferences
from tests.supervised.reward.pairs import batch_of, objective, run_on_pairs

Configure = Callable[..., TrainRmConfig]


@pytest.fixture
def configure(tiny_runs, tmp_path) -> Configure:
    """configure(pairs=PAIRS, **changes): a run on pairs, from the SFT model."""
    return partial(run_on_pairs, tiny_runs, tmp_path)


class TestLoss:
    @pytest.fixture
    def model(self, tiny_runs):
        tokenizer = load_tokenizer(str(tiny_runs.policy), "model")
        return new_classifier(
            str(tiny_runs.policy), tokenizer, "model", seed=5, labels=["score"], init_std=1.0
        )

    def scores(self, model, pairs: Preferences, side: str, numbers: range) -> list[float]:
        reward_model = RewardModel(model)
        rows = [torch.tensor([pairs.dataset[number][side]]) for number in numbers]
        return [reward_model.score(ids, torch.ones_like(ids).bool()).scores.item() for ids in rows]

    @pytest.mark.parametrize(
        "changes", [{}, {"pairs__margin": 0.7}, {"pairs__margin": 0.2, "pairs__center_coef": 0.3}]
    )
    def test_it_is_that_of_the_definition(self, configure: Configure, tiny_runs, model, changes):
        tokenizer = load_tokenizer(str(tiny_runs.policy), "model")
        config = configure(**changes)
        pairs, numbers = objective(config, tokenizer), range(6)
        expected = sum(
            math.log(1 + math.exp(-(chosen - rejected - config.pairs.margin)))
            + config.pairs.center_coef * (chosen + rejected) ** 2
            for chosen, rejected in zip(
                self.scores(model, pairs, "chosen", numbers),
                self.scores(model, pairs, "rejected", numbers),
                strict=True,
            )
        )
        loss = pairs.loss(model, batch_of(pairs, numbers))
        assert loss.count == 6
        assert loss.total.item() == pytest.approx(expected, rel=1e-4)

    def test_a_pair_adds_the_same_in_any_batch_on_any_side(
        self, configure: Configure, tiny_runs, model
    ):
        tokenizer = load_tokenizer(str(tiny_runs.policy), "model")
        pairs = objective(configure(), tokenizer)
        together = batch_of(pairs, range(8))
        alone = sum(
            pairs.loss(model, batch_of(pairs, range(number, number + 1))).total
            for number in range(8)
        )
        assert_close(pairs.loss(model, together).total, alone)
        assert (together["attention_mask"] == 0).any()
        flipped = {**together}
        for name in ("input_ids", "attention_mask"):
            flipped[name] = torch.stack(
                [
                    row.roll(int((mask == 0).sum()))
                    for row, mask in zip(together[name], together["attention_mask"], strict=True)
                ]
            )
        assert_close(pairs.loss(model, flipped).total, alone)

    def test_the_heldout_loss_is_the_mean_over_heldout_pairs(
        self, configure: Configure, tiny_runs, model
    ):
        tokenizer = load_tokenizer(str(tiny_runs.policy), "model")
        config = configure(pairs__margin=0.5, pairs__center_coef=0.1)
        pairs = objective(config, tokenizer)
        corpus = load_pairs(config.data)
        turned = Corpus(corpus.validation, corpus.train, corpus.fingerprint)
        other = Preferences(config, turned, tokenizer, print)
        loss = other.loss(model.eval(), batch_of(other, range(len(other.dataset))))
        expected = loss.total.item() / int(loss.count)
        assert pairs.heldout_loss(model) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("changes", [{}, {"pairs__margin": 0.5, "pairs__center_coef": 0.2}])
def test_the_first_step_starts_from_the_loss_of_the_new_head(
    configure: Configure, tiny_runs, tmp_path, changes
):
    config = configure(
        training__max_steps=1, training__batch_size=200, training__log_interval=1, **changes
    )
    run_train_rm(config, SilentReporter())
    tokenizer = load_tokenizer(str(tiny_runs.policy), "model")
    seed = stream_seed(config.run.seed, "reward-head")
    model = new_classifier(str(tiny_runs.policy), tokenizer, "model", seed=seed, labels=["score"])
    pairs = objective(config, tokenizer)
    loss = pairs.loss(model.eval(), batch_of(pairs, range(len(pairs.dataset))))
    [row] = read_rows(tmp_path / "run", "metrics")
    assert row["train/loss"] == pytest.approx(loss.total.item() / int(loss.count), rel=1e-5)
