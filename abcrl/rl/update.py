"""The update: several epochs of mini-batch steps on one rollout."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import GradientAccumulationPlugin
from jaxtyping import Float, Int
from torch import Tensor

from abcrl.config import AlgorithmConfig, ResponseConfig, RunFailedError, stream_seed
from abcrl.models import PolicyWithValueHead, rows_added_in_place

from .formulas.logprobs import constrain_logits, gather_logprobs
from .formulas.losses import (
    LossMeans,
    PpoLoss,
    average_losses,
    combine_losses,
    exceeds_ratio_threshold,
    policy_loss,
    value_loss,
)
from .reference_kl import ReferenceKl, exact_loss_sum, k2_loss_sum
from .rollout import Rollout
from .sampling.responses import Responses


class Experience(NamedTuple):
    """What the update learns from, `[B, R]` each; values and log-probabilities of the rollout."""

    responses: Responses
    logprobs: Float[Tensor, "B R"]
    values: Float[Tensor, "B R"]
    advantages: Float[Tensor, "B R"]
    returns: Float[Tensor, "B R"]
    ref_logprobs: Float[Tensor, "B R"] | None = None
    """Needed by a KL loss of kind k2 alone."""

    @classmethod
    def of(cls, rollout: Rollout) -> "Experience":
        """Returns what the update learns from a rollout."""
        tokens = rollout.tokens
        return cls(
            rollout.responses,
            tokens.logprobs,
            tokens.values,
            rollout.advantages,
            rollout.returns,
            tokens.ref_logprobs,
        )

    def take(self, rows: Int[Tensor, " b"]) -> "Experience":
        """Returns some rows, trimmed to the columns that they need."""
        responses = self.responses.take(rows)
        width = responses.response_width
        parts = (None if tensor is None else tensor[rows, :width] for tensor in self[1:])
        return Experience(responses, *parts)  # type: ignore[arg-type]  # None where it was None


class UpdateResult(NamedTuple):
    """What one update did."""

    means: LossMeans | None
    """Over the mini-batches that were trained on; None when all were skipped."""
    skipped: int
    """Mini-batches whose mean ratio exceeded the threshold."""
    grad_norm: float | None
    """Mean norm before clipping; None when clipping is off."""
    epochs: int | None = None
    """Epochs that were run; None when no target_kl can end them early."""


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
        reference: ReferenceKl | None = None,
    ) -> None:
        """Makes the optimizer, over all parameters of the policy that have gradients.

        Args:
            policy: The policy with its value function, in eval mode.
            accelerator: Runs the backward pass.
            algorithm: Mini-batches, clips, weights.
            response: The distribution that responses are drawn from.
            eos_token_id: The token that ends a response.
            reference: The KL loss term and the target_kl; None: neither.
        """
        self._policy = policy
        self._accelerator = accelerator
        self._algorithm = algorithm
        self._response = response
        self._eos_token_id = eos_token_id
        self._reference = reference
        self._parameters = [p for p in policy.parameters() if p.requires_grad]
        # Not accelerate's wrapper: there is no loss scaling, and it looks for packages on disk at
        # every step.
        self._optimizer = torch.optim.Adam(self._parameters, lr=algorithm.learning_rate, fused=True)

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Of the parameters that are trained; a checkpoint keeps its state."""
        return self._optimizer

    def update(
        self,
        experience: Experience,
        orders: Iterable[Int[Tensor, " B"]],
        *,
        learning_rate: float | None = None,
    ) -> UpdateResult:
        """Trains on the experience once per order, mini-batch by mini-batch.

        Args:
            experience: One rollout.
            orders: One permutation of the rows per epoch (`epoch_orders`).
            learning_rate: From here on (`learning_rate_at`); None: as before.

        Raises:
            RunFailedError: A loss is not finite; the weights are then those before that step.
        """
        if learning_rate is not None:
            for group in self._optimizer.param_groups:
                group["lr"] = learning_rate
        target_kl = None if self._reference is None else self._reference.config.target_kl
        done = _Done()
        with self._in_training_mode(), rows_added_in_place(self._policy.model):
            for order in orders:
                epoch = self._run_epoch(experience, order, done)
                done.epochs += 1
                # Written so that a NaN, of ratios that overflow, ends it too.
                if target_kl is not None and not average_losses(epoch).approx_kl <= target_kl:
                    break
        return UpdateResult(
            means=average_losses(done.losses) if done.losses else None,
            skipped=done.skipped,
            grad_norm=sum(done.norms) / len(done.norms) if done.norms else None,
            epochs=None if target_kl is None else done.epochs,
        )

    @contextmanager
    def _in_training_mode(self) -> Iterator[None]:
        """Gradient checkpointing works in train mode only; nothing else differs without dropout."""
        modules = self._policy.modules()
        if not any(getattr(module, "gradient_checkpointing", False) for module in modules):
            yield
            return
        self._policy.train()
        try:
            yield
        finally:
            self._policy.eval()

    def _run_epoch(
        self, experience: Experience, order: Int[Tensor, " B"], done: "_Done"
    ) -> list[PpoLoss]:
        """Returns the losses of all micro-batches, skipped ones too."""
        epoch: list[PpoLoss] = []
        for rows in torch.split(order, self._algorithm.mini_batch_size):
            losses = self._backward(experience, rows)
            epoch += losses
            if _is_skipped(average_losses(losses), self._algorithm.ratio_threshold):
                self._optimizer.zero_grad()
                done.skipped += 1
                continue
            done.losses += losses
            done.norms += self._step()
        return epoch

    def _backward(self, experience: Experience, rows: Int[Tensor, " b"]) -> list[PpoLoss]:
        """Accumulates the gradient of the mean over the mini-batch's tokens, part by part."""
        tokens = experience.responses.response_mask[rows].sum()
        losses = []
        for part in torch.split(rows, self._algorithm.micro_batch_size or len(rows)):
            loss = self._loss(experience.take(part))
            self._accelerator.backward(loss.total / tokens)
            losses.append(_detached(loss))
        return losses

    def _loss(self, batch: Experience) -> PpoLoss:
        responses = batch.responses
        mask, algorithm = responses.response_mask, self._algorithm
        # Before the policy's own pass: with adapters, the reference is the policy's network.
        ref_logits = self._ref_logits(responses)
        output = self._policy(
            responses.sequences, responses.attention_mask, responses.response_width
        )
        logits = constrain_logits(
            output.logits,
            temperature=self._response.temperature,
            min_new_tokens=self._response.min_new_tokens,
            eos_token_id=self._eos_token_id,
            in_place=True,
        )
        logprobs = gather_logprobs(logits, responses.response_ids)
        kl_sum = None
        if ref_logits is not None:
            kl_sum = exact_loss_sum(logits, ref_logits, responses)
        elif self._kl_loss == "k2":
            assert batch.ref_logprobs is not None  # `Experience.of` has them
            kl_sum = k2_loss_sum(logprobs, batch.ref_logprobs, responses)
        return combine_losses(
            policy_loss(logprobs, batch.logprobs, batch.advantages, mask, algorithm.clip_range),
            value_loss(
                output.values, batch.values, batch.returns, mask, algorithm.value_clip_range
            ),
            algorithm.vf_coef,
            kl_sum=kl_sum,
            loss_coef=0.0 if self._reference is None else self._reference.config.loss_coef,
        )

    @property
    def _kl_loss(self) -> str:
        return "none" if self._reference is None else self._reference.config.loss

    def _ref_logits(self, responses: Responses) -> Float[Tensor, "B R V"] | None:
        if self._reference is None or self._kl_loss != "exact":
            return None
        return self._reference.logits(responses)

    def _step(self) -> list[float]:
        """One optimizer step on the accumulated gradient; returns the norm if clipped."""
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


@dataclass
class _Done:
    """What an update has done so far."""

    losses: list[PpoLoss] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    skipped: int = 0
    epochs: int = 0


def make_accelerator(device: torch.device) -> Accelerator:
    """Returns what runs the backward pass; accelerate's environment variables change nothing.

    They would divide losses by another number of steps, or scale them for another number format.
    """
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
    )


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
    for name in ("mean_ratio", "policy_loss", "value_loss", "kl_loss"):
        value = getattr(means, name)
        if value is not None and not math.isfinite(value):
            raise RunFailedError(
                f"{name} is {value}; lower ppo.learning_rate or set ppo.max_grad_norm"
            )
    return False


def _detached(loss: PpoLoss) -> PpoLoss:
    policy = loss.policy._replace(loss_sum=loss.policy.loss_sum.detach())
    value = loss.value._replace(loss_sum=loss.value.loss_sum.detach())
    kl_sum = None if loss.kl_sum is None else loss.kl_sum.detach()
    return PpoLoss(loss.total.detach(), policy, value, kl_sum)
