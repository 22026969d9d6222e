"""The update: several epochs of mini-batch steps on one rollout."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from accelerate import Accelerator
from jaxtyping import Float, Int
from torch import Tensor

from abcrl.config import AlgorithmConfig, ResponseConfig, RunFailedError, stream_seed
from abcrl.models import PolicyWithValueHead

from .logprobs import constrain_logits, gather_logprobs
from .losses import (
    LossMeans,
    PpoLoss,
    average_losses,
    combine_losses,
    exceeds_ratio_threshold,
    policy_loss,
    value_loss,
)
from .responses import Responses


class Experience(NamedTuple):
    """What the update learns from, `[B, R]` each; values and log-probabilities of the rollout."""

    responses: Responses
    logprobs: Float[Tensor, "B R"]
    values: Float[Tensor, "B R"]
    advantages: Float[Tensor, "B R"]
    returns: Float[Tensor, "B R"]

    def take(self, rows: Int[Tensor, " b"]) -> "Experience":
        """Returns some rows, trimmed to the columns that they need."""
        responses = self.responses.take(rows)
        width = responses.response_width
        return Experience(responses, *(tensor[rows, :width] for tensor in self[1:]))


class UpdateResult(NamedTuple):
    """What one update did."""

    means: LossMeans | None
    """Over the mini-batches that were trained on; None when all were skipped."""
    skipped: int
    """Mini-batches whose mean ratio exceeded the threshold."""
    grad_norm: float | None
    """Mean norm before clipping; None when clipping is off."""


class PolicyUpdater:
    """Owns the optimizer of the policy and its value head."""

    def __init__(
        self,
        policy: PolicyWithValueHead,
        accelerator: Accelerator,
        algorithm: AlgorithmConfig,
        response: ResponseConfig,
        *,
        eos_token_id: int,
    ) -> None:
        self._policy = policy
        self._accelerator = accelerator
        self._algorithm = algorithm
        self._response = response
        self._eos_token_id = eos_token_id
        self._parameters = [p for p in policy.parameters() if p.requires_grad]
        adam = torch.optim.Adam(self._parameters, lr=algorithm.learning_rate, fused=True)
        self._optimizer = accelerator.prepare_optimizer(adam, device_placement=False)

    def update(self, experience: Experience, orders: Iterable[Int[Tensor, " B"]]) -> UpdateResult:
        """Trains on the experience once per order, mini-batch by mini-batch.

        Args:
            experience: One rollout.
            orders: One permutation of the rows per epoch (`epoch_orders`).

        Raises:
            RunFailedError: A loss is not finite; the weights are then those before that step.
        """
        losses: list[PpoLoss] = []
        norms: list[float] = []
        skipped = 0
        for order in orders:
            for rows in torch.split(order, self._algorithm.mini_batch_size):
                loss = self._loss(experience.take(rows))
                means = average_losses([loss])
                if _is_skipped(means, self._algorithm.ratio_threshold):
                    skipped += 1
                    continue
                losses.append(_detached(loss))
                norms.extend(self._step(loss))
        return UpdateResult(
            means=average_losses(losses) if losses else None,
            skipped=skipped,
            grad_norm=sum(norms) / len(norms) if norms else None,
        )

    def _loss(self, batch: Experience) -> PpoLoss:
        responses = batch.responses
        output = self._policy(
            responses.sequences, responses.attention_mask, responses.response_width
        )
        logits = constrain_logits(
            output.logits,
            temperature=self._response.temperature,
            min_new_tokens=self._response.min_new_tokens,
            eos_token_id=self._eos_token_id,
        )
        mask = responses.response_mask
        algorithm = self._algorithm
        return combine_losses(
            policy_loss(
                gather_logprobs(logits, responses.response_ids),
                batch.logprobs,
                batch.advantages,
                mask,
                algorithm.clip_range,
            ),
            value_loss(
                output.values, batch.values, batch.returns, mask, algorithm.value_clip_range
            ),
            algorithm.vf_coef,
        )

    def _step(self, loss: PpoLoss) -> list[float]:
        """One optimizer step on the mean over the step's tokens; returns the norm if clipped."""
        self._accelerator.backward(loss.total / loss.policy.tokens)
        norms = []
        if self._algorithm.max_grad_norm is not None:
            norm = self._accelerator.clip_grad_norm_(
                self._parameters, self._algorithm.max_grad_norm
            )
            norms.append(float(norm))
            if not math.isfinite(norms[-1]):
                raise RunFailedError(f"grad_norm is {norms[-1]}; lower ppo.learning_rate")
        self._optimizer.step()
        self._optimizer.zero_grad()
        return norms


def epoch_orders(*, seed: int, step: int, epochs: int, batch: int) -> list[Int[Tensor, " B"]]:
    """Returns the order of the rows in each epoch of one PPO step."""
    orders = []
    for epoch in range(epochs):
        generator = torch.Generator().manual_seed(stream_seed(seed, "mini-batches", step, epoch))
        orders.append(torch.randperm(batch, generator=generator))
    return orders


def _is_skipped(means: LossMeans, ratio_threshold: float) -> bool:
    """Returns whether a mini-batch must be left out; an overflowing ratio is one that is too large.

    Raises:
        RunFailedError: The loss of a mini-batch that would be trained on is not finite.
    """
    if exceeds_ratio_threshold(means.mean_ratio, ratio_threshold) and means.mean_ratio > 0:
        return True
    for name in ("mean_ratio", "policy_loss", "value_loss"):
        if not math.isfinite(getattr(means, name)):
            raise RunFailedError(
                f"{name} is {getattr(means, name)}; lower ppo.learning_rate or set "
                f"ppo.max_grad_norm"
            )
    return False


def _detached(loss: PpoLoss) -> PpoLoss:
    policy = loss.policy._replace(loss_sum=loss.policy.loss_sum.detach())
    value = loss.value._replace(loss_sum=loss.value.loss_sum.detach())
    return PpoLoss(loss.total.detach(), policy, value)
