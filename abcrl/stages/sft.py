"""`abcrl sft`: texts in, a causal language model out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from abcrl.config import SftConfig, stream_seed
from abcrl.config.paths import require_model_folder
from abcrl.config.training import SIZES
from abcrl.data import Corpus, Example, load_corpus
from abcrl.models import (
    build_causal_lm,
    encode_text,
    give_pad_token,
    load_causal_lm,
    train_tokenizer,
)
from abcrl.storage import RunFolder, describe_environment

from .machine import device_name, prepare_machine
from .reporter import Reporter
from .supervised import (
    Features,
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
    if config.model.base not in SIZES:
        require_model_folder(config.model.base, "model.base")
    device = prepare_machine(config.run)
    corpus = load_corpus(config.data)
    model, tokenizer = _starting_point(config, corpus)
    nn.Module.to(model, device)
    environment = describe_environment(
        device=device_name(device), fingerprints={"corpus": corpus.fingerprint}
    )
    with RunFolder.create(output, config, environment) as folder:
        dataset = TextDataset(_features(corpus.train, tokenizer, config.training.max_length))
        collate = partial(_collate, pad_token_id=tokenizer.pad_token_id)
        steps = train(
            model, dataset, collate, config.training, config.run, folder=folder, reporter=reporter
        )
        final = save_final(model, tokenizer, folder)
        heldout = _features(corpus.validation[:_HELD_OUT], tokenizer, config.training.max_length)
        loss = heldout_loss(model.eval(), heldout, collate, batch_size=config.training.batch_size)
        perplexity = float(torch.tensor(loss, dtype=torch.float64).exp())
        row = {"eval/loss": loss, "eval/perplexity": perplexity}
        require_finite(row, steps)
        folder.append("metrics", [{"step": steps, **row}])
    return SftResult(final, steps, loss, perplexity)


def _starting_point(
    config: SftConfig, corpus: Corpus
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Returns the model to train and its tokenizer, with a pad token that is not EOS."""
    if config.model.base in SIZES:
        texts = (example.text for example in corpus.train)
        tokenizer = train_tokenizer(texts, config.model.vocab_size)
        seed = stream_seed(config.run.seed, "initial-weights")
        model = build_causal_lm(config.model, tokenizer, seed=seed)
    else:
        model, tokenizer = load_causal_lm(config.model.base, "model.base")
        give_pad_token(model, tokenizer)
    require_context(model, config.training)
    return model, tokenizer


def _features(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[Features]:
    """Returns the ids of each text; EOS ends complete texts only, a cut one gets none."""
    rows = []
    for example in examples:
        ids = [*encode_text(tokenizer, example.text), tokenizer.eos_token_id]
        rows.append({"input_ids": ids[:max_length]})
    return rows


def _collate(rows: list[Features], *, pad_token_id: int) -> dict[str, Tensor]:
    batch = pad_right(rows, pad_token_id=pad_token_id)
    batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    return batch


@torch.inference_mode()
def heldout_loss(
    model: PreTrainedModel,
    rows: list[Features],
    collate: "partial[dict[str, Tensor]]",
    *,
    batch_size: int,
) -> float:
    """Returns the mean negative log-likelihood per token, over all tokens of all rows."""
    total, tokens = 0.0, 0
    for start in range(0, len(rows), batch_size):
        batch = collate(rows[start : start + batch_size])
        batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
        predicted = int((batch["labels"][:, 1:] != -100).sum())
        if predicted:  # not a batch of one-token texts, whose mean loss is no number
            total += float(model(**batch).loss) * predicted
            tokens += predicted
    return total / tokens if tokens else math.nan
