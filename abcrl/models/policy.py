"""The policy: a causal language model with a value head on its shared trunk."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from .positions import position_ids


class PolicyOutput(NamedTuple):
    """What one forward pass gives at the response positions.

    `logits[:, k]` and `values[:, k]` stand at the position before response token `k`: the
    distribution it was chosen from, and the value before it was seen.
    """

    logits: Float[Tensor, "B R V"]
    values: Float[Tensor, "B R"]


class PolicyWithValueHead(nn.Module):
    """A causal language model and a linear value head on the last hidden state.

    Attributes:
        model: The language model; what is saved and sampled from.
        value_head: Linear(hidden size, 1).
    """

    def __init__(self, model: PreTrainedModel, *, seed: int) -> None:
        """Adds a value head, initialised from its own seed and not from the global generator."""
        super().__init__()
        self.model = model
        width = model.get_output_embeddings().weight.shape[1]
        # On meta first: nn.Linear would draw its weights from the global generator.
        self.value_head = nn.Linear(width, 1, device="meta").to_empty(device=model.device)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            bound = width**-0.5  # nn.Linear's own default, as the paper's value head
            for parameter in self.value_head.parameters():
                draw = torch.rand(parameter.shape, generator=generator) * 2 - 1
                parameter.copy_(draw * bound)

    def forward(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Bool[Tensor, "B T"],
        response_width: int,
    ) -> PolicyOutput:
        """Returns logits and values for the last `response_width` tokens of each sequence."""
        logits, hidden = response_logits(self.model, input_ids, attention_mask, response_width)
        values = self.value_head(hidden.to(self.value_head.weight.dtype)).squeeze(-1)
        return PolicyOutput(logits, values.float())


def response_logits(
    model: PreTrainedModel,
    input_ids: Int[Tensor, "B T"],
    attention_mask: Bool[Tensor, "B T"],
    response_width: int,
) -> tuple[Float[Tensor, "B R V"], Float[Tensor, "B R d"]]:
    """Returns the logits that response tokens were chosen from, and the hidden states behind them.

    The head runs at response positions only, by the model's own code, so whatever an architecture
    does to its logits is kept, and no [B, T, V] tensor exists.

    Args:
        model: Causal language model.
        input_ids: Left-padded prompts, then right-padded responses of `response_width`.
        attention_mask: True where a token is real.
        response_width: R, columns of the response window.
    """
    T = input_ids.shape[1]
    kept = torch.arange(T - response_width - 1, T - 1, device=input_ids.device)
    seen: list[Tensor] = []
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        output = model(
            input_ids=input_ids,
            attention_mask=attention_mask.long(),
            position_ids=position_ids(attention_mask),
            use_cache=False,
            logits_to_keep=kept,
        )
    finally:
        hook.remove()
    return output.logits, seen[-1]
