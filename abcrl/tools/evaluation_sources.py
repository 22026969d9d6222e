"""What `abcrl eval` draws responses from: the models of both sides, the judge, the prompts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from abcrl.config import EvalConfig, EvaluationConfig, InputError, PpoSettings
from abcrl.config.reward import EvidenceConfig
from abcrl.data import Corpus, Example, read_prompts
from abcrl.models import (
    PolicyWithValueHead,
    bos_prefix,
    decode_text,
    load_causal_lm,
    require_bf16,
    shares_ids,
)
from abcrl.rl.actors import Actors, freeze, require_context
from abcrl.rl.evaluation.evaluator import Evaluator
from abcrl.rl.sampling.prompts import (
    heldout_pool,
    heldout_prompts,
    prompts_of,
    tell_left_out,
    too_few_prompts,
)
from abcrl.rl.sampling.sampler import SharedDraws
from abcrl.rl.scoring.calibration import Calibration
from abcrl.rl.scoring.loading import load_scorer
from abcrl.rl.training_state import fingerprint

Tell = Callable[[str], None]


@dataclass(frozen=True)
class EvaluationSources:
    """Everything that is loaded.

    Attributes:
        sides: `policy` and, where there is one, `against`, each with reference and reward model.
        tokenizer: The policy's; the other side has the same.
        corpus: The texts.
        fingerprints: Content hashes of all of these.
    """

    sides: dict[str, Actors]
    tokenizer: PreTrainedTokenizerBase
    corpus: Corpus[Example]
    fingerprints: dict[str, str]

    @classmethod
    def load(cls, config: EvalConfig, device: torch.device, tell: Tell) -> "EvaluationSources":
        """Returns models and texts, the models frozen and without dropout.

        Args:
            config: The evaluation.
            device: Where the models go.
            tell: Is told what was left out of the texts.

        Raises:
            InputError: One of them cannot be loaded, or they do not fit together or to the device.
        """
        if config.precision == "bf16":
            require_bf16(device, "precision")
        corpus = read_prompts(config.data, tell)
        models, tokenizer = _load_models(config)
        scorer = load_scorer(
            config.reward_model,
            tokenizer,
            EvidenceConfig(),
            config.score,
            policy_template=config.data.template,
        )
        scorer.require_prompts(prompts_of(corpus.validation))
        readers: dict[str, nn.Module] = dict(models)
        if scorer.read is None:
            readers["reward_model"] = scorer.reward_model.model
        longest = len(bos_prefix(tokenizer)) + config.prompt.max_tokens + config.response.cap_high
        for key, reader in readers.items():
            require_context(reader, key, longest)
        for model in {id(model): model for model in models.values()}.values():
            nn.Module.to(freeze(model, config.precision), device)
        scorer.reward_model.to(device)
        named = {**models, "reward_model": scorer.reward_model.model}
        reference = models.pop("reference", None)
        sides = {
            key: Actors(
                PolicyWithValueHead(model, seed=0).eval(),  # nobody looks at its value head
                reference,
                scorer,
                tokenizer.eos_token_id,
            )
            for key, model in models.items()
        }
        prints = {key: fingerprint(model) for key, model in named.items()}
        return cls(sides, tokenizer, corpus, {**corpus.fingerprints, **prints})

    def evaluators(self, config: EvalConfig, tell: Tell) -> list[Evaluator]:
        """Returns what draws one response to each prompt: one for each sample number.

        Args:
            config: The evaluation.
            tell: Is told where there are fewer prompts than are wanted.

        Raises:
            InputError: Fewer than two held-out texts give a prompt.
        """
        template = config.data.template
        pool = heldout_pool(self.corpus.validation, self.tokenizer, config.prompt, template)
        tell_left_out(tell, (pool,), config.prompt)
        too_few = too_few_prompts(pool, config.prompts, config.prompt)
        if too_few is not None:
            tell(too_few)
        prompts = heldout_prompts(pool, config.prompts, seed=config.data.seed)
        settings = PpoSettings(
            response=config.response,
            evaluation=EvaluationConfig(batch_size=config.batch_size, samples=0),
        )
        return [
            Evaluator(
                prompts=prompts,
                # A stream to each: within one, a prompt has one set of draws.
                draws=SharedDraws(config.response, seed=config.seed, stream=f"eval-{number}"),
                settings=settings,
                calibration=Calibration(),
                decode=partial(decode_text, self.tokenizer),
                gold_score=self.corpus.gold_score,
                with_kl=config.reference is not None,
            )
            for number in range(config.samples)
        ]


def _load_models(
    config: EvalConfig,
) -> tuple[dict[str, PreTrainedModel], PreTrainedTokenizerBase]:
    """Returns policy, against and reference, as far as they are configured; of one name, one.

    Raises:
        InputError: One cannot be loaded, or not answer the policy's prompts.
    """
    policy, tokenizer = load_causal_lm(config.policy, "policy")
    models, loaded = {"policy": policy}, {config.policy: policy}
    for key, name in (("against", config.against), ("reference", config.reference)):
        if name is None:
            continue
        if name not in loaded:
            loaded[name], other = load_causal_lm(name, key)
            if not shares_ids(tokenizer, other) or tokenizer.eos_token_id != other.eos_token_id:
                raise InputError(
                    f"{key}: must have the tokenizer of the policy, whose prompts it is given, "
                    f"received {name}; give a model of the same family"
                )
        models[key] = loaded[name]
    if config.reference is not None:
        for key, model in models.items():
            _require_vocabulary(model, models["reference"], key)
    return models, tokenizer


def _require_vocabulary(model: PreTrainedModel, reference: PreTrainedModel, key: str) -> None:
    ours, theirs = (one.get_output_embeddings().weight.shape[0] for one in (model, reference))
    if ours != theirs:
        raise InputError(
            f"reference: must choose from as many tokens as {key}, {ours}, for there to be a KL, "
            f"received a model with {theirs}; give the one it was trained from, or null"
        )
