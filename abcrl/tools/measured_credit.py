"""The credit that each reward mode gives to texts, from the networks that it looks at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from abcrl.config import CreditConfig, InputError, ResponseConfig, RewardMode
from abcrl.data import Example, Prompt
from abcrl.densification import Evidence, assign_token_scores, is_signed, needs
from abcrl.models import (
    context_length,
    load_causal_lm,
    load_tokenizer,
    position_ids,
)
from abcrl.rl.actors import freeze
from abcrl.rl.sampling.responses import Responses
from abcrl.rl.sampling.sampler import SharedDraws
from abcrl.rl.scoring.evidence import (
    capture_policy,
    gather_evidence,
    verify_evidence,
)
from abcrl.rl.scoring.loading import load_scorer
from abcrl.rl.scoring.reference_credit import ReferenceCredit
from abcrl.rl.scoring.scorer import Scored, Scorer

from .texts import ReadTexts, fit_texts, read_texts

# Unless more are asked for: the probes' cost grows with the square of the response's length.
_MOST_TOKENS = 128
_MOST_WITH_PROMPT = 512
_BATCH = 32


class ModeCredit(NamedTuple):
    """What a mode does with N texts, on the CPU."""

    weights: Float[Tensor, "N R"]
    """Each token's share; of a signed mode in |part|."""
    parts: Float[Tensor, "N R"]
    """What each token gets of what the text adds to the score; of either sign in a signed mode."""
    fell_back: Bool[Tensor, " N"]


class MeasuredCredit(NamedTuple):
    """What all modes do with N texts, on the CPU."""

    scores: Float[Tensor, " N"]
    dropped_share: Float[Tensor, " N"] | None
    modes: dict[RewardMode, ModeCredit]


@dataclass(frozen=True)
class CreditSources:
    """The networks whose attention and scores become credit.

    Attributes:
        scorer: The reward model.
        policy: None where there is none; its attention is then not to be had.
        tokenizer: Of the tokens that get the credit.
        max_length: Tokens of a text that both read, its prompt included.
        template: `data.template`.
    """

    scorer: Scorer
    policy: PreTrainedModel | None
    tokenizer: PreTrainedTokenizerBase
    max_length: int
    template: str | None

    @classmethod
    def load(
        cls, config: CreditConfig, device: torch.device, *, with_prompts: bool
    ) -> "CreditSources":
        """Returns the configured networks, frozen and without dropout.

        Args:
            config: What they are, and how long texts may be.
            device: Where they go.
            with_prompts: Whether texts are responses behind prompts, which takes more tokens.

        Raises:
            InputError: One of them cannot be loaded, or not read texts of that length.
        """
        policy = None
        if config.policy is None:
            tokenizer = load_tokenizer(config.reward_model, "reward_model")
        else:
            policy, tokenizer = load_causal_lm(config.policy, "policy")
            nn.Module.to(freeze(policy, "float32"), device)
        template = config.data.template
        scorer = load_scorer(
            config.reward_model, tokenizer, config.reward, config.score, policy_template=template
        )
        scorer.reward_model.to(device)
        readers = [scorer.reward_model.model, *([] if policy is None else [policy])]
        contexts = [context_length(reader) for reader in readers]
        shortest = min((each for each in contexts if each is not None), default=None)
        default = _MOST_WITH_PROMPT if with_prompts else _MOST_TOKENS
        max_length = _fitting_length(config.max_length, default, shortest)
        return cls(scorer, policy, tokenizer, max_length, template)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        device: torch.device = self.scorer.reward_model.model.device
        return device

    def read(self, examples: Sequence[Example]) -> ReadTexts:
        """Returns texts as far as both models read them.

        Raises:
            InputError: Fewer than two texts are left, or a template cannot be used for them.
        """
        texts = read_texts(examples, self.tokenizer, self.max_length, template=self.template)
        return fit_texts(texts, self.scorer, self.device)

    def why_not(self, mode: RewardMode, responses: Responses, config: CreditConfig) -> str:
        """Returns why a mode cannot be had from these networks; nothing where it can."""
        try:
            verify_evidence(
                mode,
                responses,
                scorer=self.scorer,
                policy=self.policy,
                options=config.reward,
            )
        except InputError as error:
            return str(error)
        return ""

    @torch.no_grad()
    def policy_attention(
        self, responses: Responses, config: CreditConfig
    ) -> Float[Tensor, "B R R"]:
        """Returns the policy's attention among response tokens."""
        assert self.policy is not None  # a mode that needs it is refused without one
        with capture_policy(self.policy, responses, config.reward) as capture:
            self.policy.base_model(
                input_ids=responses.sequences,
                attention_mask=responses.attention_mask.long(),
                position_ids=position_ids(responses.attention_mask),
                use_cache=False,
            )
        return capture.result()


def _fitting_length(asked: int | None, default: int, context: int | None) -> int:
    """Returns how many tokens of a text are read.

    Raises:
        InputError: More were asked for than the models can read.
    """
    if asked is None:
        return default if context is None else min(default, context)
    if context is not None and asked > context:
        raise InputError(
            f"max_length: must fit the models' context of {context} tokens, received {asked}; "
            f"lower it"
        )
    return asked


def measure_credit(
    sources: CreditSources,
    texts: ReadTexts,
    modes: Sequence[RewardMode],
    *,
    config: CreditConfig,
    others: ReadTexts | None,
) -> MeasuredCredit:
    """Returns what each mode does with texts.

    Args:
        sources: The networks.
        texts: Held-out texts.
        modes: Reward modes that the networks allow.
        config: What the modes look at.
        others: Texts whose abc credit is what `swapped` and `position` draw on; None: neither is
            measured.
    """
    reference = None
    if others is not None:
        attention, masks = _attention_to(sources, others)
        reference = ReferenceCredit.fit(attention, masks)
    R = texts.response_width
    options = ResponseConfig(min_new_tokens=0, cap_low=1, cap_high=R)
    draws = SharedDraws(options, seed=config.probe.seed, stream="credit-text")
    wanted = frozenset().union(*(needs(mode) for mode in modes))
    batches, scores, dropped = [], [], []
    for rows, responses in texts.batches(_BATCH, sources.device):
        scored = sources.scorer.score(responses, wanted)
        seen = "policy_attention" in wanted
        evidence = gather_evidence(
            responses,
            scored,
            sources.policy_attention(responses, config) if seen else None,
            prompts=[Prompt(number, ()) for number in rows],
            draws=draws,
            reference=reference,
        )
        batches.append([_credit_of(mode, evidence, scored, config, R) for mode in modes])
        scores.append(scored.scores.cpu())
        if scored.dropped_share is not None:
            dropped.append(scored.dropped_share.cpu())
    by_mode = zip(modes, zip(*batches, strict=True), strict=True)
    return MeasuredCredit(
        scores=torch.cat(scores),
        dropped_share=torch.cat(dropped) if dropped else None,
        modes={
            mode: ModeCredit(*(torch.cat(parts) for parts in zip(*some, strict=True)))
            for mode, some in by_mode
        },
    )


def _credit_of(
    mode: RewardMode, evidence: Evidence, scored: Scored, config: CreditConfig, width: int
) -> ModeCredit:
    # Of the score, what the text adds to the prompt's alone: the rest no token has earned.
    added = scored.scores
    if scored.prefix_scores is not None:
        added = added - scored.prefix_scores[:, 0]
    credit, parts = assign_token_scores(
        mode, evidence, added, beta=1.0, alignment=config.reward.alignment
    )
    weights = credit.weights
    if not is_signed(mode):
        parts = weights
    missing = (0, width - weights.shape[1])
    return ModeCredit(
        pad(weights, missing).cpu(), pad(parts, missing).cpu(), credit.fell_back.cpu()
    )


def _attention_to(
    sources: CreditSources, texts: ReadTexts
) -> tuple[Float[Tensor, "N R"], Bool[Tensor, "N R"]]:
    """Returns the reward model's attention to texts, and their tokens."""
    width = texts.response_width
    attention, masks = [], []
    for _, responses in texts.batches(_BATCH, sources.device):
        scored = sources.scorer.score(responses, frozenset({"reward_attention"}))
        assert scored.reward_attention is not None  # it was asked for
        missing = (0, width - responses.response_width)
        attention.append(pad(scored.reward_attention, missing))
        masks.append(pad(responses.response_mask, missing))
    return torch.cat(attention), torch.cat(masks)
