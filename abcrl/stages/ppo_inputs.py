"""What a PPO run has before its first step: texts that give prompts, networks, calibration."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from abcrl.config import InputError, PpoConfig, TrainRmConfig, load_config
from abcrl.config.paths import require_model_folder
from abcrl.data import PromptPool, PromptSource, read_prompts
from abcrl.machine import device_name, prepare_machine
from abcrl.models import decode_text, load_tokenizer, tokenizer_fingerprint
from abcrl.reporter import Reporter
from abcrl.rl.actors import Actors, load_actors
from abcrl.rl.evaluation.evaluator import Evaluator
from abcrl.rl.sampling.prompts import (
    heldout_pool,
    heldout_prompts,
    prompt_pool,
    prompts_of,
    require_batch,
    tell_left_out,
    too_few_prompts,
)
from abcrl.rl.sampling.sampler import SharedDraws, sample_responses
from abcrl.rl.scoring.calibration import Calibration, calibrate
from abcrl.rl.scoring.evidence import verify_evidence
from abcrl.rl.scoring.reference_credit import ReferenceCredit
from abcrl.rl.training_state import fingerprint
from abcrl.storage import Checkpoint, RunFolder, describe_environment

_REFERENCE = "reference/"


@dataclass(frozen=True)
class Inputs:
    """Texts and networks, as they are before training.

    Attributes:
        train: Texts that give the prompts to train on.
        heldout: Texts that give those of the evaluation.
        gold_score: The true score of a text, where the data know one.
        actors: The networks.
        tokenizer: The policy's.
        environment: What the run computes on, and fingerprints of all of the above.
    """

    train: PromptPool
    heldout: PromptPool
    gold_score: Callable[[str], float] | None
    actors: Actors
    tokenizer: PreTrainedTokenizerBase
    environment: dict[str, Any]


def load_inputs(config: PpoConfig, reporter: Reporter) -> Inputs:
    """Loads texts and networks, tries them, and writes nothing.

    Raises:
        InputError: One of them cannot be used, or they do not fit together.
    """
    require_model_folder(config.policy, "policy")
    require_model_folder(config.reward_model, "reward_model")
    device = prepare_machine(config.run)
    corpus = read_prompts(config.data, reporter.message)
    actors, tokenizer = load_actors(config, device)
    train = prompt_pool(corpus.train, tokenizer, config.prompt, config.data.template)
    heldout = heldout_pool(corpus.validation, tokenizer, config.prompt, config.data.template)
    tell_left_out(reporter.message, (train, heldout), config.prompt)
    require_batch(train, config.prompt, config.ppo.batch_size)
    actors.scorer.require_prompts(prompts_of([*corpus.train, *corpus.validation]))
    _try_evidence(config, train, actors)
    _tell_other_template(config, reporter)
    fingerprints = {
        **corpus.fingerprints,
        "policy": fingerprint(actors.policy),
        "policy_tokenizer": tokenizer_fingerprint(tokenizer),
        "reward_model": fingerprint(actors.scorer.reward_model.model),
        "reward_model_tokenizer": tokenizer_fingerprint(
            load_tokenizer(config.reward_model, "reward_model")
        ),
    }
    environment = describe_environment(device=device_name(device), fingerprints=fingerprints)
    return Inputs(train, heldout, corpus.gold_score, actors, tokenizer, environment)


def _tell_other_template(config: PpoConfig, reporter: Reporter) -> None:
    """Says where a reward model of `train-rm` is given another text than it has learnt to read."""
    file = Path(config.reward_model).parent / "config.yaml"
    try:
        trained = load_config(TrainRmConfig, file=file)
    except InputError:  # not one of ours, or moved away from its run
        return
    key, learnt, given = "score.template", trained.template, config.score.template
    if learnt is None and given is None:  # it reads what the policy reads
        key, learnt, given = "data.template", trained.data.template, config.data.template
    if given != learnt:
        reporter.message(
            f"{key}: the reward model was trained with {_shown(learnt)} and is given "
            f"{_shown(given)}; make them equal, or its scores are of texts unlike all it has seen"
        )


def _shown(template: str | None) -> str:
    return "none" if template is None else repr(template)


def training_draws(config: PpoConfig, texts: PromptPool) -> tuple[PromptSource, SharedDraws]:
    """Returns the prompts to train on and their random numbers; both belong to the run's seed."""
    return (
        PromptSource(texts, seed=config.run.seed, stream="train-prompts"),
        SharedDraws(config.response, seed=config.run.seed, stream="response"),
    )


def measure_calibration(config: PpoConfig, inputs: Inputs, folder: RunFolder) -> Calibration:
    """Returns what SFT responses say, and keeps their credit with the run, where it is needed.

    It belongs to data and models, so it is drawn by the data's seed.
    """
    prompts = PromptSource(inputs.train, seed=config.data.seed, stream="calibration-prompts")
    draws = SharedDraws(config.response, seed=config.data.seed, stream="calibration")
    calibration = calibrate(inputs.actors, prompts, draws, config)
    if calibration.reference is not None:
        save_file(calibration.reference.tensors(), folder.path / "reference-credit.safetensors")
    return calibration


def calibration_tensors(calibration: Calibration) -> dict[str, Tensor]:
    """Returns what a checkpoint keeps of a calibration beside its `statistics`."""
    tensors = {} if calibration.reference is None else calibration.reference.tensors()
    return {_REFERENCE + name: tensor for name, tensor in tensors.items()}


def restore_calibration(config: PpoConfig, inputs: Inputs, checkpoint: Checkpoint) -> Calibration:
    """Returns the calibration of the run that a checkpoint belongs to."""
    device = inputs.actors.policy.model.device
    stored = {
        name.removeprefix(_REFERENCE): tensor.to(device)
        for name, tensor in checkpoint.tensors.items()
        if name.startswith(_REFERENCE)
    }
    reference = ReferenceCredit(**stored) if stored else None
    unmeasured = Calibration(reference=reference, clip=config.score.clip)
    return unmeasured.restored(checkpoint.state["statistics"])


def make_evaluator(
    config: PpoConfig, inputs: Inputs, calibration: Calibration, reporter: Reporter
) -> Evaluator:
    """Returns what evaluates the policy on held-out prompts, the same for every seed of the run."""
    wanted = config.evaluation.prompts
    too_few = too_few_prompts(inputs.heldout, wanted, config.prompt)
    if too_few is not None:
        reporter.message(f"{too_few}; {len(inputs.train)} texts give training prompts")
    return Evaluator(
        prompts=heldout_prompts(inputs.heldout, wanted, seed=config.data.seed),
        draws=SharedDraws(config.response, seed=config.run.seed, stream="evaluation"),
        settings=config,
        calibration=calibration,
        decode=partial(decode_text, inputs.tokenizer),
        gold_score=inputs.gold_score,
    )


def _try_evidence(config: PpoConfig, texts: PromptPool, actors: Actors) -> None:
    """Refuses a mode whose evidence the networks do not give, on the run's first responses.

    Raises:
        InputError: It names the architecture and what to do.
    """
    prompts, draws = training_draws(config, texts)
    responses = sample_responses(
        actors.policy.model,
        prompts.take(0, 2),
        draws,
        config.response,
        eos_token_id=actors.eos_token_id,
    )
    verify_evidence(
        config.reward.mode,
        responses,
        scorer=actors.scorer,
        policy=actors.policy.model,
        options=config.reward,
    )
