"""`abcrl train-rm`: labelled texts and an SFT model in, a reward model out."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from abcrl.analysis.reward_quality import (
    CreditSpread,
    RewardModelQuality,
    accuracy,
    credit_spread,
)
from abcrl.config import TrainRmConfig, stream_seed
from abcrl.config.paths import require_model_folder
from abcrl.data import Corpus, Example, load_corpus, truncation_length
from abcrl.models import (
    CaptureError,
    RewardModel,
    bos_prefix,
    encode_text,
    load_tokenizer,
    new_classifier,
    tokens_in_spans,
)
from abcrl.storage import RunFolder, describe_environment

from .machine import device_name, prepare_machine
from .reporter import Reporter
from .supervised import Features, TextDataset, pad_right, require_context, save_final, train

# Held-out texts that the accuracy is measured on.
_HELD_OUT = 1024
_BATCH = 64


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
    corpus = load_corpus(config.data)
    corpus.require_labels()
    tokenizer = load_tokenizer(config.model, "model")
    seed = stream_seed(config.run.seed, "reward-head")
    model = new_classifier(config.model, tokenizer, "model", seed=seed)
    require_context(model, config.training)
    nn.Module.to(model, device)
    environment = describe_environment(
        device=device_name(device), fingerprints={"corpus": corpus.fingerprint}
    )
    with RunFolder.create(output, config, environment) as folder:
        dataset = TextDataset(_features(corpus.train, tokenizer, config))
        collate = partial(pad_right, pad_token_id=tokenizer.pad_token_id)
        steps = train(
            model, dataset, collate, config.training, config.run, folder=folder, reporter=reporter
        )
        final = save_final(model, tokenizer, folder)
        reward_model = RewardModel(model)
        credit = None
        try:
            credit = _measure_credit(reward_model, tokenizer, corpus, config)
        except CaptureError as error:  # reward modes that need no attention can still use it
            reporter.message(f"credit is not reported: {error}")
        quality = _measure(reward_model, tokenizer, corpus, config, credit)
        folder.append("metrics", [{"step": steps, **quality.metrics()}])
    return RewardModelResult(final, steps, quality)


def _features(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, config: TrainRmConfig
) -> list[Features]:
    """Returns ids and label of each text; some are cut to the lengths that PPO will produce."""
    rows = []
    for index, example in enumerate(examples):
        cut = truncation_length(config.truncation, seed=config.run.seed, index=index)
        ids = _ids(tokenizer, example.text, cut, config.training.max_length)
        rows.append({"input_ids": ids, "label": example.label})
    return rows


def _ids(
    tokenizer: PreTrainedTokenizerBase, text: str, cut: int | None, max_length: int
) -> list[int]:
    """Returns the ids of a text, EOS at its end; a text that is cut has none."""
    ids = [*encode_text(tokenizer, text), tokenizer.eos_token_id]
    return ids[: max_length if cut is None else min(cut, max_length)]


def _measure(
    reward_model: RewardModel,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Corpus,
    config: TrainRmConfig,
    credit: CreditSpread | None,
) -> RewardModelQuality:
    """Returns accuracy at both lengths and the spread of the scores, beside that of the credit."""
    heldout = corpus.validation[:_HELD_OUT]
    labels = torch.tensor([example.label for example in heldout]) == 1
    limit = config.training.max_length
    complete = [_ids(tokenizer, example.text, None, limit) for example in heldout]
    always = config.truncation.model_copy(update={"share": 1.0})
    cuts = [
        truncation_length(always, seed=config.run.seed, index=row) for row in range(len(heldout))
    ]
    truncated = [ids[:cut] for ids, cut in zip(complete, cuts, strict=True)]
    scores, _, _ = _score(reward_model, complete, with_attention=False)
    scores_truncated, _, _ = _score(reward_model, truncated, with_attention=False)
    return RewardModelQuality(
        accuracy=accuracy(scores, labels),
        accuracy_truncated=accuracy(scores_truncated, labels),
        score_mean=float(scores.mean()),
        score_std=float(scores.std()),
        credit=credit,
    )


def _measure_credit(
    reward_model: RewardModel,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Corpus,
    config: TrainRmConfig,
) -> CreditSpread | None:
    """Returns how ABC credit spreads over complete held-out texts, BOS left out."""
    examples = corpus.validation[: config.credit_texts]
    if not examples:
        return None
    prefix = len(bos_prefix(tokenizer))
    limit = config.training.max_length
    rows = [_ids(tokenizer, example.text, None, limit) for example in examples]
    _, mask, attention = _score(reward_model, rows, with_attention=True)
    assert attention is not None
    causal = None
    if corpus.causal_spans is not None:
        causal = torch.zeros(mask.shape, dtype=torch.bool)
        for row, example in enumerate(examples):
            spans = corpus.causal_spans(example.text)
            tokens = tokens_in_spans(tokenizer, example.text, spans)[: mask.shape[1] - prefix]
            causal[row, prefix : prefix + len(tokens)] = torch.tensor(tokens)
        causal = causal[:, prefix:] & mask[:, prefix:]
    return credit_spread(attention[:, prefix:], mask[:, prefix:], causal)


def _score(
    reward_model: RewardModel, rows: Sequence[list[int]], *, with_attention: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Returns scores [N], mask [N, T] and the scored position's attention [N, T], on the CPU."""
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.arange(width) < torch.tensor([len(row) for row in rows])[:, None]
    scores, attention = [], []
    device = reward_model.model.device
    batches = zip(torch.split(ids, _BATCH), torch.split(mask, _BATCH), strict=True)
    for batch, batch_mask in batches:
        output = reward_model.score(
            batch.to(device), batch_mask.to(device), with_attention=with_attention
        )
        scores.append(output.scores.cpu())
        if output.attention is not None:
            attention.append(output.attention.cpu())
    return torch.cat(scores), mask, torch.cat(attention) if attention else None
