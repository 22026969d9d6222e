"""`abcrl sft`: texts in, a causal language model out."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from abcrl.config import AdaptationConfig, ModelConfig, SftConfig, stream_seed
from abcrl.data import Corpus, Example, read_corpus
from abcrl.hub import locate
from abcrl.machine import device_name, prepare_machine
from abcrl.models import (
    adapt,
    add_pad_token,
    build_causal_lm,
    give_pad_token,
    load_causal_lm,
    load_tokenizer,
    require_adaptation,
    require_buildable,
    tokenizer_fingerprint,
    train_tokenizer,
)
from abcrl.reporter import Reporter
from abcrl.rl.training_state import fingerprint
from abcrl.storage import describe_environment, read_last_row
from abcrl.supervised.final_model import finish_model, save_final
from abcrl.supervised.recorder import require_finite
from abcrl.supervised.sft_batches import collate, collate_packed, features, pack, require_separate
from abcrl.supervised.texts import Features, TextDataset, Texts, readable_texts, tell_too_long
from abcrl.supervised.trainer import require_context, train

from .resume import (
    EarlierRun,
    IfInexact,
    hold_earlier_run,
    keys_of_rows,
    open_run,
    telling_how_to_go_on,
)

# Held-out texts whose loss is measured at the end.
_HELD_OUT = 512


@dataclass(frozen=True)
class SftResult:
    """What a finished SFT run says of itself; losses in nats per token."""

    final: Path
    steps: int
    heldout_loss: float
    heldout_perplexity: float


def run_sft(
    config: SftConfig,
    reporter: Reporter,
    *,
    resume: bool = False,
    if_inexact: IfInexact = "refuse",
) -> SftResult:
    """Trains a causal language model on the corpus and saves it to `<output>/final`.

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
    return read_result(Path(config.run.output))


def read_result(output: Path) -> SftResult:
    """Returns what a finished run says of itself."""
    row = read_last_row(output, "metrics") or {}
    return SftResult(output / "final", row["step"], row["eval/loss"], row["eval/perplexity"])


def _reads(config: SftConfig) -> dict[str, str]:
    """Returns what a run reads, by fingerprint, and the configuration key that names it."""
    tokenizer = "model.base" if config.model.tokenizer is None else "model.tokenizer"
    return {"texts": keys_of_rows(config.data), "tokenizer": tokenizer, "model": "model.base"}


def _train(
    config: SftConfig, reporter: Reporter, earlier: EarlierRun | None, if_inexact: IfInexact
) -> None:
    config.model.require_files("model")
    device = prepare_machine(config.run)
    require_adaptation(config.networks, device)
    _require_starting_point(config.model)
    corpus = read_corpus(config.data, reporter.message)
    model, tokenizer = _starting_point(config, corpus)
    nn.Module.to(model, device)
    texts, heldout = (
        readable_texts(
            examples, tokenizer, config.training.max_length, policy_template=config.data.template
        )
        for examples in (corpus.train, corpus.sample_validation(_HELD_OUT))
    )
    for part, one in (("data", texts), ("held-out data", heldout)):
        tell_too_long(reporter.message, one, config.training.max_length, part=part)
    dataset, batch = _batches(texts, model, tokenizer, config)
    fingerprints = {**corpus.fingerprints, "model": fingerprint(model)}
    if config.model.references:  # else the tokenizer is trained on the data
        fingerprints["tokenizer"] = tokenizer_fingerprint(tokenizer)
    environment = describe_environment(device=device_name(device), fingerprints=fingerprints)
    adapters = adapt(model, config.networks, seed=stream_seed(config.run.seed, "lora"))

    def measure(model: PreTrainedModel) -> dict[str, float]:
        loss = heldout_loss(
            model.eval(),
            _one_by_one(heldout, config),
            partial(collate, pad_token_id=tokenizer.pad_token_id),
            batch_size=config.training.batch_size,
        )
        perplexity = float(torch.tensor(loss, dtype=torch.float64).exp())
        return {"eval/loss": loss, "eval/perplexity": perplexity}

    folder, checkpoint = open_run(earlier, config, environment, if_inexact, reporter)
    with folder, telling_how_to_go_on("sft", folder.path):
        row = train(
            model,
            dataset,
            batch,
            config,
            folder=folder,
            reporter=reporter,
            evaluate=measure,
            checkpoint=checkpoint,
        )
        unadapted = config.replace(networks=AdaptationConfig())
        model = finish_model(
            model,
            adapters,
            config.networks,
            folder,
            base=config.model.base,
            load_again=lambda: _starting_point(unadapted, corpus)[0],
        )
        nn.Module.to(model, device)  # it may have been loaded again
        save_final(model, tokenizer, folder)
        row |= measure(model)
        require_finite(row, int(row["step"]))
        folder.append("metrics", [row])


def _require_starting_point(config: ModelConfig) -> None:
    """Refuses a Hub id that cannot be had and a model that cannot be built, before data is read."""
    for key, reference in config.references.items():
        locate(reference, f"model.{key}")
    if config.from_scratch:
        require_buildable(config)


def _starting_point(
    config: SftConfig, corpus: Corpus[Example]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Returns the model to train and its tokenizer, with a pad token that is not EOS."""
    if config.model.from_scratch:
        tokenizer = _tokenizer(config.model, corpus)
        seed = stream_seed(config.run.seed, "initial-weights")
        model = build_causal_lm(config.model, tokenizer, seed=seed)
    else:
        model, tokenizer = load_causal_lm(
            config.model.base, "model.base", quantization=config.networks.quantization
        )
        give_pad_token(model, tokenizer)
    require_context(model, config.training)
    return model, tokenizer


def _tokenizer(config: ModelConfig, corpus: Corpus[Example]) -> PreTrainedTokenizerBase:
    """Returns the tokenizer of a model from scratch: the named one, or one trained on the data."""
    if config.tokenizer is None:
        return train_tokenizer(_words(corpus), config.vocab_size)
    tokenizer = load_tokenizer(config.tokenizer, "model.tokenizer")
    add_pad_token(tokenizer)  # before the model is built, so that its embedding has the row
    return tokenizer


def _words(corpus: Corpus[Example]) -> Iterator[str]:
    """Yields all that texts, prompts and responses say."""
    for example in corpus.train:
        if example.prompt is not None and example.prompt.text is not None:
            yield example.prompt.text
        elif example.prompt is not None:
            yield from (turn.content for turn in example.prompt.turns)
        yield example.text


def _batches(
    texts: Texts, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: SftConfig
) -> tuple[TextDataset, Callable[..., dict[str, Any]]]:
    """Returns what is trained on, and how some of it become a batch.

    Raises:
        InputError: Texts are to share rows, and the model cannot tell them apart.
    """
    pad = tokenizer.pad_token_id
    one_by_one = _one_by_one(texts, config)
    if not config.packing:
        return one_by_one, partial(collate, pad_token_id=pad)
    require_separate(model, [texts[number] for number in range(min(3, len(texts)))], pad)
    lengths = [len(texts[number].ids) for number in range(len(texts))]
    rows = pack(lengths, width=config.training.max_length, seed=config.run.seed)

    def row(index: int) -> list[Features]:
        return [one_by_one[number] for number in rows[index]]

    return TextDataset(rows, row), partial(collate_packed, pad_token_id=pad)


def _one_by_one(texts: Texts, config: SftConfig) -> TextDataset:
    def make(index: int) -> Features:
        return features(texts, loss=config.loss, index=index)

    return TextDataset(texts, make)


@torch.inference_mode()
def heldout_loss(
    model: PreTrainedModel,
    rows: TextDataset,
    collate: "partial[dict[str, Tensor]]",
    *,
    batch_size: int,
) -> float:
    """Returns the mean negative log-likelihood per token, over all tokens of all rows."""
    total, tokens = 0.0, 0
    for start in range(0, len(rows), batch_size):
        stop = min(start + batch_size, len(rows))
        batch = collate([rows[index] for index in range(start, stop)])
        batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
        predicted = int((batch["labels"][:, 1:] != -100).sum())
        if predicted:  # not a batch of one-token texts, whose mean loss is no number
            total += float(model(**batch).loss) * predicted
            tokens += predicted
    return total / tokens if tokens else math.nan
