"""`abcrl credit`: where a reward model's credit falls, mode by mode, and whether it is faithful.

Held-out texts are read as responses: to the prompts that the data give, or to their own first
tokens. Each mode spreads their scores over their tokens; then tokens are taken away, to see which
of them the scores hang on.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from abcrl.analysis.quality.credit_spread import CreditSpread, credit_spread
from abcrl.analysis.quality.faithfulness import (
    Faithfulness,
    FaithfulnessSummary,
    Probe,
    judge_credit,
    probe_response,
    summarise_faithfulness,
)
from abcrl.analysis.quality.perturbation import Score
from abcrl.config import CreditConfig, InputError, RewardMode
from abcrl.config.paths import require_model_folder
from abcrl.data import Corpus, Example, read_corpus
from abcrl.densification import is_signed
from abcrl.dialogue import PromptText
from abcrl.machine import device_name, prepare_machine
from abcrl.models import PromptedText, punctuation_ids
from abcrl.reporter import Reporter
from abcrl.rl.scoring.evidence import needs_reference
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

    too_long: int
    """Responses that were left out, as they do not fit behind their prompts."""
    shortened: int
    """Plain texts of which only the beginning is read: `max_length`, or what both models can."""
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
    examples = corpus.sample_validation(config.texts)
    with_prompts = any(example.prompt is not None for example in examples)
    sources = CreditSources.load(config, device, with_prompts=with_prompts)
    texts = _read(sources, examples, reporter, "held-out")
    modes, left_out = _usable_modes(config, sources, texts)
    others = None
    if any(needs_reference(mode) for mode in modes):
        training = corpus.sample_train(config.reward.reference_responses)
        others = _read(sources, training, reporter, "training")
    with _opened(config, device, corpus) as folder:
        measured = measure_credit(sources, texts, modes, config=config, others=others)
        scores = [
            partial(_score, sources.scorer, device, text, example.prompt)
            for text, example in zip(texts.rows, texts.examples, strict=True)
        ]
        probes = _probe(config, scores, texts, reporter)
        judged = {mode: _judge(mode, measured, probes, scores) for mode in modes}
        report = CreditReport(
            too_long=texts.too_long,
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


def _read(
    sources: CreditSources, examples: Sequence[Example], reporter: Reporter, kind: str
) -> ReadTexts:
    """Returns texts, and tells how many were left out.

    Raises:
        InputError: Fewer than two are left, or a template cannot be used for them.
    """
    texts = sources.read(examples)
    if texts.too_long:
        reporter.message(
            f"data: {texts.too_long} of {len(examples)} {kind} texts left out, as prompt and "
            f"response are longer than the models read or max_length allows ({sources.max_length} "
            f"tokens)"
        )
    return texts


def _opened(
    config: CreditConfig, device: torch.device, corpus: Corpus[Example]
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
    some = texts.responses(range(2), sources.device)
    asked = list(RewardMode) if config.modes is None else list(dict.fromkeys(config.modes))
    reasons = {mode: sources.why_not(mode, some, config) for mode in asked}
    refused = {mode.value: reason for mode, reason in reasons.items() if reason}
    if refused and config.modes is not None:
        raise InputError(*dict.fromkeys(refused.values()))
    return [mode for mode in asked if not reasons[mode]], refused


def _score(
    scorer: Scorer,
    device: torch.device,
    text: PromptedText,
    said: PromptText | None,
    rows: list[list[int]],
) -> Float[Tensor, " N"]:
    """Returns the scores of other responses to a text's prompt, which rows begin with.

    Those of like lengths are read together.
    """
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    scores = torch.zeros(len(rows))
    for start in range(0, len(rows), _SCORES_AT_ONCE):
        chosen = order[start : start + _SCORES_AT_ONCE]
        others = [PromptedText(rows[row], text.start) for row in chosen]
        responses = as_responses(others, device, [said] * len(others))
        scores[chosen] = scorer.score(responses).scores.cpu()
    return scores


def _probe(
    config: CreditConfig, scores: Sequence[Score], texts: ReadTexts, reporter: Reporter
) -> list[Probe]:
    """Returns what the scores hang on, whatever the credit: most of the work."""
    reporter.start("probing", len(texts.rows))
    probes = []
    for number, (score, (ids, start)) in enumerate(zip(scores, texts.rows, strict=True)):
        probe = probe_response(
            score,
            ids[:start],
            ids[start:],
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
    scores: Sequence[Score],
) -> list[Faithfulness]:
    return [
        judge_credit(score, probe, parts[: len(probe.response_ids)], signed=is_signed(mode))
        for score, probe, parts in zip(scores, probes, measured.modes[mode].parts, strict=True)
    ]


def _describe_modes(
    sources: CreditSources,
    corpus: Corpus[Example],
    texts: ReadTexts,
    measured: MeasuredCredit,
    judged: Mapping[RewardMode, Sequence[Faithfulness]],
) -> tuple[ModeReport, ...]:
    responses = as_responses(texts.rows, torch.device("cpu"))
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
        example = texts.examples[number]
        prompt = {} if example.prompt is None else {"prompt": _written(example.prompt)}
        rows.append(
            {
                **prompt,
                "text": example.text,
                "ids": texts.rows[number].ids,
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


def _written(prompt: PromptText) -> object:
    """Returns a prompt as its source has it: a text, or turns."""
    return [asdict(turn) for turn in prompt.turns] if prompt.text is None else prompt.text


def _summary(report: CreditReport) -> dict[str, object]:
    content = asdict(report)
    content.pop("folder")
    return content
