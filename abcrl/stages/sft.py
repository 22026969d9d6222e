"""`abcrl sft`: texts in, a causal language model out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from abcrl.config import ModelConfig, SftConfig, stream_seed
from abcrl.data import Corpus, read_corpus
from abcrl.hub import locate
from abcrl.machine import device_name, prepare_machine
from abcrl.models import (
    add_pad_token,
    build_causal_lm,
    give_pad_token,
    load_causal_lm,
    load_tokenizer,
    require_buildable,
    train_tokenizer,
)
from abcrl.reporter import Reporter
from abcrl.storage import RunFolder, describe_environment

from .supervised import (
    Features,
    ReadableTexts,
    TextDataset,
    pad_right,
    require_context,
    require_finite,
    save_final,
    train,
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


def run_sft(config: SftConfig, reporter: Reporter) -> SftResult:
    """Trains a causal language model on the corpus and saves it to `<output>/final`.

    Raises:
        InputError: Data, model or folder cannot be used; nothing was written then.
        RunFailedError: The loss became non-finite.
    """
    output = Path(config.run.output)
    RunFolder.check_free(output)
    config.model.require_files("model")
    device = prepare_machine(config.run)
    _require_starting_point(config.model)
    corpus = read_corpus(config.data, reporter.message)
    model, tokenizer = _starting_point(config, corpus)
    nn.Module.to(model, device)
    environment = describe_environment(device=device_name(device), fingerprints=corpus.fingerprints)
    with RunFolder.create(output, config, environment) as folder:
        limit = config.training.max_length
        dataset = TextDataset(ReadableTexts(corpus.train, tokenizer, limit), _features)
        collate = partial(_collate, pad_token_id=tokenizer.pad_token_id)
        row = train(
            model, dataset, collate, config.training, config.run, folder=folder, reporter=reporter
        )
        final = save_final(model, tokenizer, folder)
        heldout = TextDataset(
            ReadableTexts(corpus.sample_validation(_HELD_OUT), tokenizer, limit), _features
        )
        loss = heldout_loss(model.eval(), heldout, collate, batch_size=config.training.batch_size)
        perplexity = float(torch.tensor(loss, dtype=torch.float64).exp())
        row |= {"eval/loss": loss, "eval/perplexity": perplexity}
        require_finite(row, int(row["step"]))
        folder.append("metrics", [row])
    return SftResult(final, int(row["step"]), loss, perplexity)


def _require_starting_point(config: ModelConfig) -> None:
    """Refuses a Hub id that cannot be had and a model that cannot be built, before data is read."""
    for key, reference in config.references.items():
        locate(reference, f"model.{key}")
    if config.from_scratch:
        require_buildable(config)


def _starting_point(
    config: SftConfig, corpus: Corpus
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Returns the model to train and its tokenizer, with a pad token that is not EOS."""
    if config.model.from_scratch:
        tokenizer = _tokenizer(config.model, corpus)
        seed = stream_seed(config.run.seed, "initial-weights")
        model = build_causal_lm(config.model, tokenizer, seed=seed)
    else:
        model, tokenizer = load_causal_lm(config.model.base, "model.base")
        give_pad_token(model, tokenizer)
    require_context(model, config.training)
    return model, tokenizer


def _tokenizer(config: ModelConfig, corpus: Corpus) -> PreTrainedTokenizerBase:
    """Returns the tokenizer of a model from scratch: the named one, or one trained on the data."""
    if config.tokenizer is None:
        return train_tokenizer((example.text for example in corpus.train), config.vocab_size)
    tokenizer = load_tokenizer(config.tokenizer, "model.tokenizer")
    add_pad_token(tokenizer)  # before the model is built, so that its embedding has the row
    return tokenizer


def _features(index: int, ids: list[int]) -> Features:  # noqa: ARG001 - TextDataset gives both
    return {"input_ids": ids}


def _collate(rows: list[Features], *, pad_token_id: int) -> dict[str, Tensor]:
    batch = pad_right(rows, pad_token_id=pad_token_id)
    batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    return batch


@torch.inference_mode()
def heldout_loss(
    model: PreTrainedModel,
    rows: TextDataset | Sequence[Features],
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
