"""`abcrl train-rm`: labelled texts and an SFT model in, a reward model out."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from torch import nn

from abcrl.analysis.reward_quality import RewardModelQuality
from abcrl.config import TrainRmConfig, stream_seed
from abcrl.config.paths import require_model_folder
from abcrl.data import Example, read_corpus, truncation_length
from abcrl.machine import device_name, prepare_machine
from abcrl.models import RewardModel, load_tokenizer, new_classifier
from abcrl.reporter import Reporter
from abcrl.storage import RunFolder, describe_environment

from .reward_model_quality import fit_bag_of_words, measure_quality
from .supervised import (
    Features,
    ReadableTexts,
    TextDataset,
    pad_right,
    require_context,
    save_final,
    train,
)


class RewardModelResult(NamedTuple):
    """What a finished reward-model run says of itself."""

    final: Path
    steps: int
    quality: RewardModelQuality


def run_train_rm(config: TrainRmConfig, reporter: Reporter) -> RewardModelResult:
    """Trains a two-label classifier on the SFT model's trunk and saves it to `<output>/final`.

    Raises:
        InputError: Data, model or folder cannot be used; nothing was written then.
        RunFailedError: The loss became non-finite.
    """
    output = Path(config.run.output)
    RunFolder.check_free(output)
    require_model_folder(config.model, "model")
    device = prepare_machine(config.run)
    corpus = read_corpus(config.data, reporter.message, labelled=True)
    tokenizer = load_tokenizer(config.model, "model")
    seed = stream_seed(config.run.seed, "reward-head")
    model = new_classifier(config.model, tokenizer, "model", seed=seed)
    require_context(model, config.training)
    nn.Module.to(model, device)
    environment = describe_environment(device=device_name(device), fingerprints=corpus.fingerprints)
    with RunFolder.create(output, config, environment) as folder:
        texts = ReadableTexts(corpus.train, tokenizer, config.training.max_length)
        row = train(
            model,
            TextDataset(texts, partial(_features, corpus.train, config)),
            partial(pad_right, pad_token_id=tokenizer.pad_token_id),
            config.training,
            config.run,
            folder=folder,
            reporter=reporter,
        )
        final = save_final(model, tokenizer, folder)
        bag = fit_bag_of_words(tokenizer, texts, corpus.train)
        quality = measure_quality(RewardModel(model), bag, tokenizer, corpus, config, reporter)
        folder.append("metrics", [{**row, **quality.metrics()}])
    return RewardModelResult(final, int(row["step"]), quality)


def _features(
    examples: Sequence[Example], config: TrainRmConfig, index: int, ids: list[int]
) -> Features:
    """Returns ids and label of a text; some are cut to the lengths that PPO will produce."""
    cut = truncation_length(config.truncation, seed=config.run.seed, index=index)
    return {"input_ids": ids[:cut], "label": examples[index].label}
