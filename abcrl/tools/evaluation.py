"""`abcrl eval`: held-out responses of a policy, beside those of the SFT model or another run.

Both answer the same prompts with the same random numbers, and the code that evaluates them is the
one that PPO evaluates itself with.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path

import torch

from abcrl.analysis.quality.prompt_samples import IntervalEstimate, mean_difference, win_rate
from abcrl.config import EvalConfig
from abcrl.config.paths import require_model_folder
from abcrl.machine import device_name, prepare_machine
from abcrl.reporter import Reporter
from abcrl.rl.evaluation.evaluated import EvaluatedResponse, ResponseSummary, summarise_responses
from abcrl.rl.evaluation.evaluator import Evaluator
from abcrl.storage import RunFolder, describe_environment

from .evaluated_runs import differences
from .evaluation_sources import EvaluationSources

PromptResponses = list[list[EvaluatedResponse]]
"""The responses to each prompt, in the order of their sample numbers."""


@dataclass(frozen=True)
class SideReport:
    """One of the two models, and its responses."""

    model: str
    summary: ResponseSummary
    trained_with: tuple[str, ...]
    """Where the run that the model comes from was trained with other settings than these."""


@dataclass(frozen=True)
class Comparison:
    """What the policy has over the other model: 95 % intervals over the prompts."""

    win_rate: IntervalEstimate | None
    """See `win_rate`; None with one response to a prompt."""
    score: IntervalEstimate
    kl_exact: IntervalEstimate | None
    length: IntervalEstimate
    gold_score: IntervalEstimate | None


@dataclass(frozen=True)
class EvalReport:
    """What `abcrl eval` has found."""

    prompts: int
    samples: int
    """Responses to each prompt."""
    reward_model: str
    responses: str
    """How they were drawn."""
    reference: str | None
    """What the KL is to."""
    policy: SideReport
    against: SideReport | None
    difference: Comparison | None
    """policy - against."""
    folder: Path | None


def run_eval(config: EvalConfig, reporter: Reporter) -> EvalReport:
    """Samples and scores responses of one policy or two, and writes them where asked to.

    Raises:
        InputError: Data, models or folder cannot be used, or do not fit together.
        RunFailedError: A score or a log-probability is not finite.
    """
    output = None if config.output is None else Path(config.output)
    if output is not None:
        RunFolder.check_free(output, "output")
    models = _models(config)
    for key, model in models.items():
        require_model_folder(model, key, kind="CausalLM")
    require_model_folder(config.reward_model, "reward_model", kind="SequenceClassification")
    device = prepare_machine(config.machine)
    sources = EvaluationSources.load(config, device, reporter.message)
    evaluators = sources.evaluators(config, reporter.message)
    trained_with = {
        side: tuple(differences(models[side], config, sources.fingerprints))
        for side in sources.sides
    }
    with _opened(config, device, sources) as folder:
        responses = _respond(sources, evaluators, reporter)
        report = _report(config, responses, trained_with)
        if folder is not None:
            for side, rows in responses.items():
                folder.append("samples", _rows(side, rows, evaluators[0].decode))
            folder.write_json("summary.json", _summary(report))
    return report


def _models(config: EvalConfig) -> dict[str, str]:
    named = {key: getattr(config, key) for key in ("policy", "against", "reference")}
    return {key: model for key, model in named.items() if model is not None}


def _opened(
    config: EvalConfig, device: torch.device, sources: EvaluationSources
) -> AbstractContextManager[RunFolder | None]:
    """Makes the folder, if one is asked for: before the work, that it may not be in vain."""
    if config.output is None:
        return nullcontext()
    environment = describe_environment(
        device=device_name(device), fingerprints=sources.fingerprints
    )
    return RunFolder.create(Path(config.output), config, environment)


def _respond(
    sources: EvaluationSources, evaluators: Sequence[Evaluator], reporter: Reporter
) -> dict[str, PromptResponses]:
    """Returns the responses of each side: most of the work."""
    first = evaluators[0]
    batches = ceil(len(first.prompts) / first.settings.evaluation.batch_size)
    reporter.start("evaluating", len(sources.sides) * len(evaluators) * batches)
    done, responses = 0, {}
    for side, actors in sources.sides.items():
        drawn: list[list[EvaluatedResponse]] = []
        for evaluator in evaluators:
            drawn.append([])
            for batch in evaluator.respond(actors):
                drawn[-1] += batch
                done += 1
                reporter.advance(done, {})
        responses[side] = [list(rows) for rows in zip(*drawn, strict=True)]
    return responses


def _report(
    config: EvalConfig,
    responses: Mapping[str, PromptResponses],
    trained_with: Mapping[str, tuple[str, ...]],
) -> EvalReport:
    models = _models(config)
    sides = {
        side: SideReport(models[side], summarise_responses(rows), trained_with[side])
        for side, rows in responses.items()
    }
    return EvalReport(
        prompts=len(responses["policy"]),
        samples=config.samples,
        reward_model=config.reward_model,
        responses=_describe_responses(config),
        reference=config.reference,
        policy=sides["policy"],
        against=sides.get("against"),
        difference=_compare(**responses) if "against" in responses else None,
        folder=None if config.output is None else Path(config.output),
    )


def _describe_responses(config: EvalConfig) -> str:
    drawn = config.response
    return (
        f"cut at {drawn.cap_low} to {drawn.cap_high} tokens, no EOS before {drawn.min_new_tokens}, "
        f"temperature {drawn.temperature:g}"
    )


def _compare(policy: PromptResponses, against: PromptResponses) -> Comparison:
    def values(name: str) -> list[list[list[float]]]:
        return [
            [[getattr(row, name) for row in rows] for rows in responses]
            for responses in (policy, against)
        ]

    def difference(name: str) -> IntervalEstimate | None:
        known = getattr(policy[0][0], name) is not None
        return mean_difference(*values(name)) if known else None

    return Comparison(
        win_rate=win_rate(*values("score")),
        score=mean_difference(*values("score")),
        kl_exact=difference("kl"),
        length=mean_difference(*values("length")),
        gold_score=difference("gold_score"),
    )


def _rows(
    side: str, prompts: Sequence[Sequence[EvaluatedResponse]], decode: Callable[[list[int]], str]
) -> Iterator[dict[str, object]]:
    """Yields every response of a side and what is known of it."""
    for responses in prompts:
        for number, row in enumerate(responses):
            named: dict[str, object] = {
                "side": side,
                "prompt_index": row.prompt.index,
                "sample": number,
                "prompt": decode(list(row.prompt.ids)),
                "response": decode(row.response_ids),
                "prompt_ids": list(row.prompt.ids),
                "response_ids": row.response_ids,
                "score": row.score,
                "ended": row.ended,
            }
            known = {"kl_exact": row.kl, "gold_score": row.gold_score}
            yield named | {name: value for name, value in known.items() if value is not None}


def _summary(report: EvalReport) -> dict[str, object]:
    content = asdict(report)
    content.pop("folder")
    return content
