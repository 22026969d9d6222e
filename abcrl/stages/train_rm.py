"""`abcrl train-rm`: labelled texts or pairs and an SFT model in, a reward model out."""

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from abcrl.analysis.quality.credit_spread import CreditSpread
from abcrl.analysis.quality.preference_quality import PreferenceQuality
from abcrl.analysis.quality.reward_quality import RewardModelQuality
from abcrl.config import TrainRmConfig, stream_seed
from abcrl.config.paths import require_model_folder
from abcrl.machine import device_name, prepare_machine
from abcrl.models import (
    CaptureError,
    RewardModel,
    adapt,
    load_tokenizer,
    new_classifier,
    require_adaptation,
    save_with_value_head,
    tokenizer_fingerprint,
)
from abcrl.reporter import Reporter
from abcrl.rl.training_state import fingerprint
from abcrl.storage import RunFolder, describe_environment, read_last_row
from abcrl.supervised.final_model import finish_model, save_final
from abcrl.supervised.reward.objectives import OBJECTIVES, Objective, Quality
from abcrl.supervised.reward.score_offset import plan_offset
from abcrl.supervised.trainer import classifier_loss, require_context, train

from .resume import (
    EarlierRun,
    IfInexact,
    hold_earlier_run,
    keys_of_rows,
    open_run,
    telling_how_to_go_on,
)

_QUALITY: dict[str, type[Quality]] = {
    "classifier": RewardModelQuality,
    "bradley-terry": PreferenceQuality,
}


class RewardModelResult(NamedTuple):
    """What a finished reward-model run says of itself."""

    final: Path
    steps: int
    quality: Quality


def run_train_rm(
    config: TrainRmConfig,
    reporter: Reporter,
    *,
    resume: bool = False,
    if_inexact: IfInexact = "refuse",
) -> RewardModelResult:
    """Trains a sequence classifier on the SFT model's trunk and saves it to `<output>/final`.

    Args:
        config: The whole configuration.
        reporter: Receives progress, and from where a run goes on.
        resume: Go on with the run in the output folder, see `run_ppo`.
        if_inexact: resume: What to do where the end could be another, see `run_ppo`.

    Raises:
        InputError: Data, model or folder cannot be used, or the run cannot be gone on with;
            nothing was written then.
        RunFailedError: The loss became non-finite.
    """
    with hold_earlier_run(config, _reads(config), reporter, resume=resume) as earlier:
        if earlier is None or not earlier.finished:
            _train(config, reporter, earlier, if_inexact)
    return read_result(config)


def read_result(config: TrainRmConfig) -> RewardModelResult:
    """Returns what a finished run says of itself."""
    output = Path(config.run.output)
    row = read_last_row(output, "metrics") or {}
    quality = _read_quality(_QUALITY[config.objective], row)
    return RewardModelResult(output / "final", row["step"], quality)


def _read_quality(kind: type[Quality], row: Mapping[str, Any]) -> Quality:
    """Returns what gave a row its metrics; the row lacks what was not known."""
    credit: dict[str, Any] = {
        one.name: row.get(f"credit/{one.name}") for one in fields(CreditSpread)
    }
    known = any(value is not None for value in credit.values())
    own: dict[str, Any] = {one.name: row.get(f"eval/{one.name}") for one in fields(kind)}
    return kind(**{**own, "credit": CreditSpread(**credit) if known else None})


def _reads(config: TrainRmConfig) -> dict[str, str]:
    """Returns what a run reads, by fingerprint, and the configuration key that names it."""
    rows = keys_of_rows(config.data)
    return {"texts": rows, "labels": rows, "tokenizer": "model", "model": "model"}


def _train(
    config: TrainRmConfig, reporter: Reporter, earlier: EarlierRun | None, if_inexact: IfInexact
) -> None:
    require_model_folder(config.model, "model")
    device = prepare_machine(config.run)
    require_adaptation(config.networks, device)
    kind: Any = OBJECTIVES[config.objective]  # what it reads, it is made from
    corpus = kind.read(config, reporter.message)
    tokenizer = load_tokenizer(config.model, "model")
    load = partial(
        new_classifier,
        config.model,
        tokenizer,
        "model",
        seed=stream_seed(config.run.seed, "reward-head"),
        labels=kind.labels,
        init_std=config.head.init_std,
    )
    model = load(quantization=config.networks.quantization)
    require_context(model, config.training)
    objective: Objective = kind(config, corpus, tokenizer, reporter.message)
    measure_offset = plan_offset(config, objective, tokenizer, model)
    nn.Module.to(model, device)
    fingerprints = {
        **corpus.fingerprints,
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "model": fingerprint(model),
    }
    environment = describe_environment(device=device_name(device), fingerprints=fingerprints)
    seed = stream_seed(config.run.seed, "lora")
    adapters = adapt(model, config.networks, seed=seed, whole=["score"])
    folder, checkpoint = open_run(earlier, config, environment, if_inexact, reporter)
    with folder, telling_how_to_go_on("train-rm", folder.path):
        row = train(
            model,
            objective.dataset,
            objective.collate,
            config,
            folder=folder,
            reporter=reporter,
            compute_loss=objective.loss or classifier_loss,
            evaluate=lambda model: {"eval/loss": objective.heldout_loss(model)},
            checkpoint=checkpoint,
        )
        if config.evaluation.interval is not None and "eval/loss" not in row:
            row["eval/loss"] = objective.heldout_loss(model)  # so that the curve has its end
        model = finish_model(
            model, adapters, config.networks, folder, base=config.model, load_again=load
        )
        nn.Module.to(model, device)  # it may have been loaded again
        if measure_offset is not None:
            model.config.score_offset = measure_offset(RewardModel(model))
        _save(model, tokenizer, config, folder)
        quality = _judge(RewardModel(model), objective, config, reporter)
        folder.append("metrics", [{**row, **quality.metrics()}])


def _judge(
    reward_model: RewardModel, objective: Objective, config: TrainRmConfig, reporter: Reporter
) -> Quality:
    """Returns what can be said of the trained model.

    Where its attention cannot be captured, the reporter is told and there is no credit.
    """
    quality = objective.measure(reward_model)
    if config.head.offset != "none":
        quality = replace(quality, score_offset=reward_model.offset)
    if not config.credit_texts:
        return quality
    try:
        return replace(quality, credit=objective.spread_of_credit(reward_model))
    except CaptureError as error:  # reward modes that need no attention can still use it
        reporter.message(f"credit is not reported: {error}")
    return quality


def _save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: TrainRmConfig,
    folder: RunFolder,
) -> None:
    if config.head.format == "sequence-classifier":
        save_final(model, tokenizer, folder)
        return
    with folder.new_folder("final") as final:
        save_with_value_head(model, tokenizer, config.model, final)
