"""Sampling that belongs to the prompt: a response does not depend on the batch it is drawn in.

Each response is drawn by inverse CDF from uniforms seeded by (run seed, stream, prompt number), so
it is the same alone or in any batch, and all arms of a comparison share the same random numbers.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedModel, StoppingCriteria

from abcrl.config import ResponseConfig, stream_seed
from abcrl.data import Prompt
from abcrl.rl.formulas.logprobs import constrain_logits

from .decoding import decoding_options
from .responses import Responses


class SharedDraws:
    """The random numbers that belong to each prompt, whatever batch it is in.

    Those that its response is sampled with, its length cap and one uniform per token, and those of
    any other purpose.
    """

    def __init__(self, config: ResponseConfig, *, seed: int, stream: str) -> None:
        self._config = config
        self._seed = seed
        self._stream = stream

    def draw(self, prompts: Sequence[Prompt]) -> tuple[Int[Tensor, " B"], Float[Tensor, "B R"]]:
        """Returns caps in cap_low..cap_high and float32 uniforms in [0, 1), R = cap_high."""
        caps, uniforms = [], []
        for prompt in prompts:
            seed = stream_seed(self._seed, self._stream, prompt.index)
            generator = torch.Generator().manual_seed(seed)
            low, high = self._config.cap_low, self._config.cap_high
            caps.append(torch.randint(low, high + 1, (), generator=generator))
            uniforms.append(torch.rand(high, generator=generator))
        return torch.stack(caps), torch.stack(uniforms)

    def uniforms(self, prompts: Sequence[Prompt], purpose: str) -> Float[Tensor, "B R"]:
        """Returns float32 uniforms in [0, 1), R = cap_high, that have nothing to do with `draw`'s.

        Args:
            prompts: The prompts.
            purpose: Names what they are for; another purpose gets other numbers.
        """
        rows = []
        for prompt in prompts:
            seed = stream_seed(self._seed, f"{self._stream}-{purpose}", prompt.index)
            generator = torch.Generator().manual_seed(seed)
            rows.append(torch.rand(self._config.cap_high, generator=generator))
        return torch.stack(rows)


class InverseCdfProcessor(LogitsProcessor):
    """Leaves exactly one token possible: the one at which the CDF passes the row's uniform."""

    def __init__(
        self,
        uniforms: Float[Tensor, "B R"],
        config: ResponseConfig,
        *,
        prompt_width: int,
        eos_token_id: int,
    ) -> None:
        self._uniforms = uniforms
        self._config = config
        self._prompt_width = prompt_width
        self._eos_token_id = eos_token_id

    def __call__(
        self, input_ids: Int[Tensor, "B T"], scores: Float[Tensor, "B V"]
    ) -> Float[Tensor, "B V"]:
        """Returns 0 for the drawn token and -inf for all others."""
        position = input_ids.shape[1] - self._prompt_width
        logits = constrain_logits(
            scores[:, None],
            temperature=self._config.temperature,
            min_new_tokens=self._config.min_new_tokens,
            eos_token_id=self._eos_token_id,
            first_position=position,
        )[:, 0]
        # In float64 the product of a float32 uniform below 1 and the CDF's end never rounds up to
        # that end. MPS has no float64; there the clamp below has to do.
        wide = torch.float32 if logits.device.type == "mps" else torch.float64
        cdf = logits.softmax(-1).to(wide).cumsum(-1)
        threshold = self._uniforms[:, position, None].to(wide) * cdf[:, -1:]
        token = torch.searchsorted(cdf, threshold, right=True)
        token = token.clamp(max=cdf.shape[-1] - 1)
        return torch.full_like(scores, -torch.inf).scatter_(1, token, 0.0)


class _CapReached(StoppingCriteria):
    """Ends each row at its own cap, so that generation stops with the longest row needed."""

    def __init__(self, caps: Int[Tensor, " B"], prompt_width: int) -> None:
        self._caps = caps
        self._prompt_width = prompt_width

    def __call__(
        self,
        input_ids: Int[Tensor, "B T"],
        scores: object,  # noqa: ARG002 - part of the interface
        **kwargs: Any,  # noqa: ANN401, ARG002 - part of the interface
    ) -> Bool[Tensor, " B"]:
        return input_ids.shape[1] - self._prompt_width >= self._caps


@torch.no_grad()  # not inference_mode: the update back-propagates through these ids' embeddings
def sample_responses(
    model: PreTrainedModel,
    prompts: Sequence[Prompt],
    draws: SharedDraws,
    config: ResponseConfig,
    *,
    eos_token_id: int,
) -> Responses:
    """Returns one response per prompt, EOS included as its last token where one was drawn.

    Prompts are left-padded, responses right-padded; a response that reaches its cap is cut there.

    Args:
        model: Causal language model in eval mode.
        prompts: The prompts.
        draws: Their random numbers.
        config: Temperature, EOS ban, caps.
        eos_token_id: The token that ends a response.
    """
    device = model.device
    prompt_ids, prompt_mask = _left_padded(prompts, fill=eos_token_id, device=device)
    caps, uniforms = (tensor.to(device) for tensor in draws.draw(prompts))
    width = prompt_ids.shape[1]
    processor = InverseCdfProcessor(uniforms, config, prompt_width=width, eos_token_id=eos_token_id)
    generate: Any = model.generate  # nn.Module's __getattr__ hides its type
    sequences: Tensor = generate(
        input_ids=prompt_ids,
        attention_mask=prompt_mask.long(),
        logits_processor=[processor],
        stopping_criteria=[_CapReached(caps, width)],
        **decoding_options(
            model,
            config,
            rows=len(prompts),
            prompt_width=width,
            new_tokens=int(caps.max()),
            eos_token_id=eos_token_id,
        ),
    )
    response_ids = sequences[:, width:]
    response_mask = _until_eos(response_ids, eos_token_id)
    response_mask &= torch.arange(response_ids.shape[1], device=device) < caps[:, None]
    said = tuple(prompt.said for prompt in prompts)
    return Responses(
        sequences=sequences,
        attention_mask=torch.cat([prompt_mask, response_mask], dim=1),
        response_mask=response_mask,
        said=said if any(said) else None,
    )


def _left_padded(
    prompts: Sequence[Prompt], *, fill: int, device: torch.device
) -> tuple[Int[Tensor, "B P"], Bool[Tensor, "B P"]]:
    """Returns prompt ids and their mask; what fills the padding is never read."""
    width = max(len(prompt.ids) for prompt in prompts)
    rows = [(fill,) * (width - len(prompt.ids)) + prompt.ids for prompt in prompts]
    mask = [[False] * (width - len(prompt.ids)) + [True] * len(prompt.ids) for prompt in prompts]
    return torch.tensor(rows, device=device), torch.tensor(mask, device=device)


def _until_eos(response_ids: Int[Tensor, "B R"], eos_token_id: int) -> Bool[Tensor, "B R"]:
    """Returns True up to and with the first EOS of each row."""
    is_eos = response_ids == eos_token_id
    earlier = is_eos.long().cumsum(-1) - is_eos.long()
    return earlier == 0
