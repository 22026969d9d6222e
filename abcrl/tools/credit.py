"""`abcrl credit`: where a reward model's credit falls, mode by mode, and whether it is faithful.

Held-out texts are read as responses. Each mode spreads their scores over their tokens; then tokens
are taken away, to see which of them the scores hang on.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from abcrl.analysis.credit_spread import CreditSpread, credit_spread
from abcrl.analysis.faithfulness import (
    Faithfulness,
    FaithfulnessSummary,
    Probe,
    judge_credit,
    probe_response,
    summarise_faithfulness,
)
from abcrl.config import CreditConfig, InputError, RewardMode
from abcrl.config.paths import require_model_folder
from abcrl.data import Corpus, read_corpus
from abcrl.densification import is_signed
from abcrl.machine import device_name, prepare_machine
from abcrl.models import punctuation_ids
from abcrl.reporter import Reporter
from abcrl.rl.scoring.scorer import Scorer
from abcrl.storage import RunFolder, describe_environment

from .measured_credit import CreditSources, MeasuredCredit, measure_credit
from .texts import ReadTexts, as_mask, as_responses

_SCORES_AT_ONCE = 128


@dataclass(frozen=True)
class ModeReport:
    """What one reward mode does with the scores of the texts."""

    mode: RewardMode
    spread: CreditSpread
    fallback_rate: float
    """Share of the texts on which no evidence fell; their credit is uniform."""
    faithfulness: FaithfulnessSummary


@dataclass(frozen=True)
class CreditReport:
    """What `abcrl credit` has found."""

    shortened: int
    """Texts of which only the beginning is read: `max_length`, or what both models can."""
    score_mean: float
    score_std: float
    """Of the scores of the texts."""
    dropped_share: float | None
    """Attention of the scored position that lies outside of the text; None if none was read."""
    modes: tuple[ModeReport, ...]
    left_out: Mapping[str, str]
    """Modes that these models do not allow and that were not asked for by name, and why."""
    folder: Path | None


def run_credit(config: CreditConfig, reporter: Reporter) -> CreditReport:
    """Measures the credit of reward modes on held-out texts, and writes it where asked to.

    Raises:
        InputError: Data, models or folder cannot be used, or the models do not give what a mode
            needs that was asked for by name.
        RunFailedError: A score is not finite.
    """
    output = None if config.output is None else Path(config.output)
    if output is not None:
        RunFolder.check_free(output, "output")
    require_model_folder(config.reward_model, "reward_model", kind="SequenceClassification")
    if config.policy is not None:
        require_model_folder(config.policy, "policy", kind="CausalLM")
    device = prepare_machine(config.machine)
    corpus = read_corpus(config.data, reporter.message)
    sources = CreditSources.load(config, device)
    texts = sources.read(corpus.sample_validation(config.texts))
    modes, left_out = _usable_modes(config, sources, texts)
    others = corpus.sample_train(config.reward.reference_responses)
    with _opened(config, device, corpus) as folder:
        measured = measure_credit(sources, texts, modes, config=config, others=others)
        probes = _probe(config, sources.scorer, texts, device, reporter)
        score = partial(_score, sources.scorer, device)
        judged = {mode: _judge(mode, measured, probes, score) for mode in modes}
        report = CreditReport(
            shortened=texts.shortened,
            score_mean=float(measured.scores.mean()),
            score_std=float(measured.scores.std()),
            dropped_share=_mean(measured.dropped_share),
            modes=_describe_modes(sources, corpus, texts, measured, judged),
            left_out=left_out,
            folder=output,
        )
        if folder is not None:
            folder.append("texts", _rows(texts, measured, probes, judged))
            folder.write_json("summary.json", _summary(report))
    return report


def _opened(
    config: CreditConfig, device: torch.device, corpus: Corpus
) -> AbstractContextManager[RunFolder | None]:
    """Makes the folder, if one is asked for: before the work, that it may not be in vain."""
    if config.output is None:
        return nullcontext()
    environment = describe_environment(device=device_name(device), fingerprints=corpus.fingerprints)
    return RunFolder.create(Path(config.output), config, environment)


def _usable_modes(
    config: CreditConfig, sources: CreditSources, texts: ReadTexts
) -> tuple[list[RewardMode], dict[str, str]]:
    """Returns the modes to measure and, of all others, why they cannot be had.

    Raises:
        InputError: One that was asked for by name cannot.
    """
    some = as_responses(texts.ids[:2], sources.device)
    asked = list(RewardMode) if config.modes is None else list(dict.fromkeys(config.modes))
    reasons = {mode: sources.why_not(mode, some, config) for mode in asked}
    refused = {mode.value: reason for mode, reason in reasons.items() if reason}
    if refused and config.modes is not None:
        raise InputError(*dict.fromkeys(refused.values()))
    return [mode for mode in asked if not reasons[mode]], refused


def _score(scorer: Scorer, device: torch.device, rows: list[list[int]]) -> Float[Tensor, " N"]:
    """Returns the scores of texts; those of like lengths are read together."""
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    scores = torch.zeros(len(rows))
    for start in range(0, len(rows), _SCORES_AT_ONCE):
        chosen = order[start : start + _SCORES_AT_ONCE]
        responses = as_responses([rows[row] for row in chosen], device)
        scores[chosen] = scorer.score(responses).scores.cpu()
    return scores


def _probe(
    config: CreditConfig,
    scorer: Scorer,
    texts: ReadTexts,
    device: torch.device,
    reporter: Reporter,
) -> list[Probe]:
    """Returns what the scores hang on, whatever the credit: most of the work."""
    reporter.start("probing", len(texts.ids))
    probes = []
    for number, ids in enumerate(texts.ids):
        probe = probe_response(
            partial(_score, scorer, device),
            ids[:1],
            ids[1:],
            steps=config.probe.steps,
            random_orders=config.probe.random_orders,
            seed=config.probe.seed,
        )
        probes.append(probe)
        reporter.advance(number + 1, {})
    return probes


def _judge(
    mode: RewardMode,
    measured: MeasuredCredit,
    probes: Sequence[Probe],
    score: Callable[[list[list[int]]], Tensor],
) -> list[Faithfulness]:
    return [
        judge_credit(score, probe, parts[: len(probe.response_ids)], signed=is_signed(mode))
        for probe, parts in zip(probes, measured.modes[mode].parts, strict=True)
    ]


def _describe_modes(
    sources: CreditSources,
    corpus: Corpus,
    texts: ReadTexts,
    measured: MeasuredCredit,
    judged: Mapping[RewardMode, Sequence[Faithfulness]],
) -> tuple[ModeReport, ...]:
    responses = as_responses(texts.ids, torch.device("cpu"))
    mask, width = responses.response_mask, responses.response_width
    marks = torch.tensor(punctuation_ids(sources.tokenizer), dtype=torch.long)
    causal = None
    if corpus.causal_spans is not None:
        causal = as_mask(texts.tokens_on(corpus.causal_spans, sources.tokenizer), width)
    reports = []
    for mode, credit in measured.modes.items():
        spread = credit_spread(
            credit.weights,
            mask,
            punctuation=torch.isin(responses.response_ids, marks) & mask,
            causal=causal,
        )
        fallback_rate = float(credit.fell_back.float().mean())
        faithful = summarise_faithfulness(judged[mode])
        reports.append(ModeReport(mode, spread, fallback_rate, faithful))
    return tuple(reports)


def _mean(values: Tensor | None) -> float | None:
    return None if values is None else float(values.mean())


def _rows(
    texts: ReadTexts,
    measured: MeasuredCredit,
    probes: Sequence[Probe],
    judged: Mapping[RewardMode, Sequence[Faithfulness]],
) -> list[dict[str, object]]:
    """Returns what is known of each text: its ids and score, and each token's drop and credit."""
    rows: list[dict[str, object]] = []
    for number, probe in enumerate(probes):
        length = len(probe.response_ids)
        rows.append(
            {
                "text": texts.examples[number].text,
                "ids": texts.ids[number],
                "score": probe.full_score,
                "drops": probe.drops.tolist(),
                "credit": {
                    mode.value: credit.parts[number, :length].tolist()
                    for mode, credit in measured.modes.items()
                },
                "faithfulness": {
                    mode.value: {
                        "correlation": results[number].correlation,
                        "deletion": results[number].deletion,
                        "insertion": results[number].insertion,
                    }
                    for mode, results in judged.items()
                },
            }
        )
    return rows


def _summary(report: CreditReport) -> dict[str, object]:
    content = asdict(report)
    content.pop("folder")
    return content
