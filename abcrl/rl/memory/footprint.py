"""What a PPO step takes in memory, counted on networks without numbers.

The code of the run itself runs, forward and backward, and every tensor that it makes is counted
while it lives. So nothing here knows an architecture. Generation alone is taken apart, because how
long it goes on depends on numbers: the pass over the prompts, and the last step on a full cache.

Prompts and responses are as long as they may be. What a kernel takes for itself while it runs is
not counted.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from abcrl.config import PpoConfig
from abcrl.densification import needs
from abcrl.models import compute_gelu_in_place
from abcrl.models.skeletons import causal_lm_skeleton, reward_model_skeleton
from abcrl.rl.actors import Actors, build_policy, freeze, require_context
from abcrl.rl.reference_kl import ReferenceKl
from abcrl.rl.sampling.decoding import decoding_options
from abcrl.rl.sampling.sampler import InverseCdfProcessor
from abcrl.rl.scoring.evidence import needs_reference
from abcrl.rl.scoring.scorer import Scorer
from abcrl.rl.token_statistics import evaluate_tokens
from abcrl.rl.update import PolicyUpdater, make_accelerator

from .live import LiveMemory, bytes_of, tensors_of
from .longest_batch import longest_experience, longest_responses
from .partly_fake import PartlyFake

_EOS = 0
_GRADIENTS = "gradients"
_VALUE_MODEL = "value model"
# What torch's allocator on a GPU rounds up to, bytes.
_CUDA_BLOCK = 512


class Usage(NamedTuple):
    """Bytes of one phase, beside the weights and the optimizer's state."""

    peak: int
    """The most that is held at one time."""
    activations: int
    """Of it what is no cache, no gradient and not the separate value model's, at its own most."""
    kept: int = 0
    """Generation: the cache at its longest. Scoring, token evaluation: what they leave behind."""
    value_model: int = 0
    """Update: what the separate value model holds for its backward pass."""


@dataclass(frozen=True)
class Holdings:
    """Bytes of one network."""

    weights: int
    gradients: int = 0
    optimizer: int = 0


class Footprint:
    """The networks of a run without numbers, and what each phase of a step takes with them."""

    def __init__(self, config: PpoConfig, device: torch.device) -> None:
        """Builds the networks from their configurations.

        Args:
            config: The run.
            device: What it runs on; its kernels are those that are counted on.

        Raises:
            InputError: A configuration cannot be had, or the networks not be built as asked for.
        """
        self._config = config
        self._device = device
        self._accelerator = make_accelerator(device)
        self._mode = PartlyFake()
        self._actors = _skeletons(config)
        require_context(self._actors.policy.model, "policy", self.tokens)
        for network in self._networks.values():
            self._mode.materialise(network, device)

    @property
    def tokens(self) -> int:
        """T, of the longest prompt with the longest response."""
        return self._config.prompt.max_tokens + self._config.response.cap_high

    def holdings(self) -> dict[str, Holdings]:
        """Returns it by role: policy, value_model, ref_policy, reward_model; of those there are."""
        policy = self._actors.policy
        parts: dict[str, list[nn.Module]] = {"policy": [policy.model, policy.value_head]}
        if policy.value_trunk is not None:
            parts["policy"].pop()
            parts["value_model"] = [policy.value_trunk, policy.value_head]
        for role, network in self._networks.items():
            parts.setdefault(role, [network])
        states = self._optimizer_states()
        return {role: _holdings(modules, states) for role, modules in parts.items()}

    @torch.no_grad()
    def generation(self, rows: int) -> Usage:
        """Returns what sampling takes: the pass over the prompts, or the step on a full cache."""
        longest = self.tokens - 1
        with self._counted() as memory:
            scores = self._choose(self._decode(rows, self._config.prompt.max_tokens))
            prompts = memory.peak
            cache = self._decode(rows, longest).past_key_values
            kept = memory.live.total() - scores.nbytes
            memory.forget_peaks()
            # What a step has chosen from is still there while the next one chooses.
            scores = self._choose(self._decode(rows, 1, cache=cache, seen=longest))
            del scores, cache
        peak = max(prompts, memory.peak)
        return Usage(peak, peak - kept, kept)

    def scoring(self, rows: int) -> Usage:
        """Returns what the reward model takes, reading as many tokens as the policy writes."""
        wanted = needs(self._config.reward.mode)
        if needs_reference(self._config.reward.mode):
            wanted |= {"reward_attention"}
        responses = longest_responses(self._config, rows, self._device)
        with self._counted() as memory:
            scored = self._actors.scorer.score(responses, wanted)
            kept = memory.live.total()
            del scored
        return Usage(memory.peak, memory.peak, kept)

    def token_evaluation(self, rows: int) -> Usage:
        """Returns what policy and reference take together."""
        wanted = needs(self._config.reward.mode)
        responses = longest_responses(self._config, rows, self._device)
        with self._counted() as memory:
            tokens = evaluate_tokens(
                self._actors,
                responses,
                self._config,
                with_attention="policy_attention" in wanted,
            )
            kept = memory.live.total()
            del tokens
        return Usage(memory.peak, memory.peak, kept)

    def update(self, rows: int) -> Usage:
        """Returns what forward and backward pass of a micro-batch take, with the gradients."""
        algorithm = self._config.ppo
        parts = 1 if algorithm.micro_batch_size in (None, algorithm.mini_batch_size) else 2
        updater = self._updater(rows, parts)
        experience = longest_experience(self._config, rows * parts, self._device)
        with self._counted() as memory, self._labels(memory):
            updater.update(experience, [torch.arange(rows * parts, device=self._device)])
        return Usage(memory.peak, memory.peaks[""], value_model=memory.peaks[_VALUE_MODEL])

    @property
    def _networks(self) -> dict[str, nn.Module]:
        actors = self._actors
        networks: dict[str, nn.Module] = {"policy": actors.policy}
        if actors.ref_policy is not None:
            networks["ref_policy"] = actors.ref_policy
        networks["reward_model"] = actors.scorer.reward_model.model
        return networks

    def _updater(self, rows: int, parts: int) -> PolicyUpdater:
        """Returns one whose mini-batches have so many parts of so many rows."""
        sizes = {"micro_batch_size": rows, "mini_batch_size": rows * parts}
        return PolicyUpdater(
            self._actors.policy,
            self._accelerator,
            self._config.ppo.model_copy(update=sizes),
            self._config.response,
            eos_token_id=_EOS,
            reference=ReferenceKl.of(self._actors, self._config),
        )

    def _optimizer_states(self) -> dict[int, list[Tensor]]:
        """Returns what the optimizer keeps of each parameter, by the parameter's id."""
        updater = self._updater(1, 1)
        with self._mode:
            for parameter in self._actors.policy.parameters():
                if parameter.requires_grad:
                    parameter.grad = torch.empty_like(parameter)
            updater.optimizer.step()
            updater.optimizer.zero_grad()
        return {
            id(parameter): [value for value in state.values() if isinstance(value, Tensor)]
            for parameter, state in updater.optimizer.state.items()
        }

    @contextmanager
    def _counted(self) -> Iterator[LiveMemory]:
        known = tensors_of(self._networks.values())
        block = _CUDA_BLOCK if self._device.type == "cuda" else 1
        with self._mode, LiveMemory(known, block=block) as memory:
            yield memory

    @contextmanager
    def _labels(self, memory: LiveMemory) -> Iterator[None]:
        """Tells gradients and the value model's activations from the rest; no optimizer state."""
        policy, handles = self._actors.policy, []

        def is_gradient(parameter: Tensor) -> None:
            assert parameter.grad is not None  # the hook says that it is there
            memory.relabel(parameter.grad, _GRADIENTS)

        for parameter in policy.parameters():
            if parameter.requires_grad:
                hooked: Any = parameter  # torch's signature has no types
                handles.append(hooked.register_post_accumulate_grad_hook(is_gradient))
        if policy.value_trunk is not None:
            enter, leave = memory.switch(_VALUE_MODEL), memory.switch("")
            handles.append(policy.value_trunk.register_forward_pre_hook(enter))
            handles.append(policy.value_trunk.register_forward_hook(leave))
        # The state is there from the first step on, so it belongs to what is held throughout.
        handles.append(register_optimizer_step_pre_hook(memory.switch(None)))
        handles.append(register_optimizer_step_post_hook(memory.switch("")))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _decode(self, rows: int, width: int, *, cache: object = None, seen: int = 0) -> Any:  # noqa: ANN401
        """Runs one step of generation as transformers' `generate` does, first with a new cache."""
        model: Any = self._actors.policy.model
        prompt, response, device = self._config.prompt, self._config.response, self._device
        mask = torch.ones(rows, seen + width, dtype=torch.long, device=device)
        if prompt.min_tokens < prompt.max_tokens:
            mask[1:, 0] = 0
        if cache is None:
            cache = decoding_options(
                model,
                response,
                rows=rows,
                prompt_width=prompt.max_tokens,
                new_tokens=response.cap_high,
                eos_token_id=_EOS,
            ).get("past_key_values")
        return model(
            input_ids=torch.ones(rows, width, dtype=torch.long, device=device),
            attention_mask=mask,
            position_ids=torch.arange(seen, seen + width, device=device).expand(rows, -1),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )

    def _choose(self, output: Any) -> Tensor:  # noqa: ANN401
        """Draws tokens as transformers' `generate` does; returns what they were drawn from."""
        logits: Tensor = output.logits
        width, device = self._config.prompt.max_tokens, self._device
        processor = InverseCdfProcessor(
            torch.zeros(len(logits), self._config.response.cap_high, device=device),
            self._config.response,
            prompt_width=width,
            eos_token_id=_EOS,
        )
        ids = torch.ones(len(logits), width, dtype=torch.long, device=device)
        scores = processor(ids, logits[:, -1].to(torch.float32, copy=True))
        scores.argmax(-1)
        return scores


def _skeletons(config: PpoConfig) -> Actors:
    """Returns the networks that `load_actors` would load, on the meta device."""
    model = causal_lm_skeleton(config.policy, "policy")
    scorer = Scorer(
        reward_model_skeleton(config.reward_model, "reward_model", config.reward, config.score)
    )
    compute_gelu_in_place(scorer.reward_model.model)
    reference = None
    if config.networks.lora is None:
        reference = freeze(copy.deepcopy(model), config.networks.precision)
    policy = build_policy(config, model, scorer).eval()
    return Actors(policy, reference, scorer, _EOS)


def _holdings(modules: list[nn.Module], states: dict[int, list[Tensor]]) -> Holdings:
    tensors = tensors_of(modules)
    trained = [tensor for tensor in tensors if tensor.requires_grad]
    state = [one for tensor in trained for one in states[id(tensor)]]
    return Holdings(bytes_of(tensors), bytes_of(trained), bytes_of(state))
