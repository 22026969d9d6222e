"""How much credit falls on what people marked as wrong in an answer?

The reward model scores the first answer to each question; a reward mode spreads the score; people
have marked spans of that answer as irrelevant, unverifiable and so on. Shown is the share of the
credit on the marked tokens beside their share of the tokens, and, before that, whether this reward
model knows better answers from worse at all. Run: python credit_on_spans.py --help
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from answers import SEPARATOR, Row, fail_in_one_line, read_rows
from reader import Reader
from scipy import stats
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from abcrl.config import InputError, stream_seed
from abcrl.densification import (
    Evidence,
    RewardMode,
    assign_credit,
    assign_token_scores,
    fit_position_profile,
    needs,
    resample_weights,
)
from abcrl.models import load_reward_model, tokens_in_spans
from abcrl.rl.sampling.responses import Responses

MODES: Final = ("abc", "uniform", "rlhf", "position", "shuffled", "random")
ANY: Final = "any of them"
RESAMPLES: Final = 10_000
MIN_ANSWERS: Final = 10
"""A type of error that fewer answers have is not reported: its interval would mean nothing."""


class Share(NamedTuple):
    """A ratio of sums over responses, with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def ratio(part: np.ndarray, whole: np.ndarray) -> Share:
    """Return sum(part) / sum(whole) and its percentile bootstrap interval over the rows."""
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(part), size=(RESAMPLES, len(part)))
    low, high = np.quantile(part[drawn].sum(1) / whole[drawn].sum(1), [0.025, 0.975])
    return Share(float(part.sum() / whole.sum()), float(low), float(high))


def preference_counts(rows: Sequence[Row], value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return per question how many preferred answers have the higher value, and of how many.

    Args:
        rows: N questions with four answers.
        value: [N, 4], one of each answer; equal values count half.
    """
    right, total = np.zeros(len(rows)), np.zeros(len(rows))
    for number, row in enumerate(rows):
        for first, second, preferred in row["preferences"]:
            if preferred is not None:
                other = second if preferred == first else first
                right[number] += (np.sign(value[number, preferred] - value[number, other]) + 1) / 2
                total[number] += 1
    return right, total


def is_mended(row: Row) -> bool:
    """Whether errors of the first answer are marked, and there is a better one in its place."""
    return bool(row["errors_in_output_0"]) and row["corrected_output_0"] != row["outputs"][0]


def require_judgements(rows: Sequence[Row]) -> None:
    """Refuse rows in which people have not said anything.

    Raises:
        InputError: No answer is marked and corrected, or none is preferred to another.
    """
    preferred = any(pair[2] is not None for row in rows for pair in row["preferences"])
    if not (preferred and any(map(is_mended, rows))):
        raise InputError(
            f"data: must hold a preference and an answer with marked errors and its correction, "
            f"received {len(rows)} rows without; give more of them"
        )


def direction(reader: Reader, rows: Sequence[Row]) -> Iterator[str]:
    """Yield whether the reward model knows better from worse, beside what length alone knows."""
    questions = [row for row in rows for _ in row["outputs"]]
    answers = [answer for row in rows for answer in row["outputs"]]
    scores = reader.score(reader.encode(questions, answers)).scores.numpy().reshape(len(rows), -1)
    words = np.array([len(answer.split()) for answer in answers]).reshape(scores.shape)
    right, total = preference_counts(rows, scores)
    longer, _ = preference_counts(rows, words)
    asked = total > 0
    shown = ratio(right[asked], total[asked])
    yield f"the preferred answer scores higher:  {shown} of {total.sum():.0f} pairs"
    yield f"  and is the longer one:             {ratio(longer[asked], total[asked])}"
    mended = [number for number, row in enumerate(rows) if is_mended(row)]
    corrected = [rows[number]["corrected_output_0"] for number in mended]
    better = reader.encode([rows[number] for number in mended], corrected)
    gain = reader.score(better).scores.numpy() - scores[mended, 0]
    shorter = words[mended, 0] - np.array([len(answer.split()) for answer in corrected])
    ones = np.ones(len(mended))
    yield (
        f"the corrected answer scores higher:  {ratio((np.sign(gain) + 1) / 2, ones)} of "
        f"{len(mended)}"
    )
    yield f"  and is the shorter one:            {ratio((np.sign(shorter) + 1) / 2, ones)}"


def gather_evidence(
    reader: Reader, responses: Responses, rows: Sequence[Row], wanted: frozenset[str]
) -> tuple[Tensor, Evidence]:
    """Return scores, and what modes may look at; profile and donors come from these responses.

    Raises:
        InputError: The reward model does not give it.
    """
    model, P, mask = reader.reward_model, responses.prompt_width, responses.response_mask
    whole = responses.sequences, responses.attention_mask
    few = [tensor[:2].to(model.model.device) for tensor in whole]
    model.verify_attention(*few)
    prefixes = "prefix_scores" in wanted
    if prefixes:
        model.require_causal(*few)
    output = reader.score(responses, with_attention=True, with_prefixes=prefixes)
    assert output.attention is not None
    attention = output.attention[:, P:]
    weights = assign_credit("abc", Evidence(mask, attention)).weights
    noise = torch.stack(
        [
            torch.rand(
                mask.shape[1],
                generator=torch.Generator().manual_seed(stream_seed(0, "spans", row["question"])),
            )
            for row in rows
        ]
    )
    evidence = Evidence(
        mask,
        reward_attention=attention,
        noise=noise,
        bank_row=resample_weights(weights.roll(1, 0), mask.roll(1, 0), mask),
        profile=fit_position_profile(weights, mask),
        prefix_scores=None if output.prefix_scores is None else output.prefix_scores[:, P - 1 :],
    )
    return output.scores, evidence


def marked_tokens(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], width: int
) -> dict[str, Tensor]:
    """Return for each type of error which tokens of the first answer are marked, bool [N, R]."""
    kinds = sorted({error["type"] for row in rows for error in row["errors_in_output_0"]})
    marked = {kind: torch.zeros(len(rows), width, dtype=torch.bool) for kind in (ANY, *kinds)}
    for number, row in enumerate(rows):
        for kind, tokens in marked.items():
            spans = [
                (error["start"], error["end"])
                for error in row["errors_in_output_0"]
                if kind in (ANY, error["type"])
            ]
            inside = tokens_in_spans(tokenizer, row["outputs"][0], spans)
            tokens[number, : len(inside)] = torch.tensor(inside)
    # Most frequent first.
    return dict(sorted(marked.items(), key=lambda item: -int(item[1].any(-1).sum())))


def credit_table(reader: Reader, rows: Sequence[Row], modes: Sequence[str]) -> Iterator[str]:
    """Yield for each type of error and mode how much of the credit is on the marked tokens."""
    responses = reader.encode(rows, [row["outputs"][0] for row in rows])
    wanted = frozenset().union(*(needs(mode) for mode in modes))
    scores, evidence = gather_evidence(reader, responses, rows, wanted)
    mask = responses.response_mask
    marked = marked_tokens(reader.tokenizer, rows, mask.shape[1])
    share = (marked[ANY].sum(-1) / mask.sum(-1)).numpy()
    rank = stats.spearmanr(scores.numpy(), share)
    yield (
        f"rank correlation of score and marked share of the tokens: {rank.statistic:+.2f} "
        f"(p = {rank.pvalue:.3f})\n"
    )
    header = f"{'marked as':16} {'answers':>7} {'tokens':>7}"
    yield f"{header}  {'mode':9} {'credit':>7}  credit / tokens"
    for kind, tokens in marked.items():
        some = tokens.any(-1)
        if kind != ANY and some.sum() < MIN_ANSWERS:
            yield f"{kind:16} {int(some.sum()):7} too few"
            continue
        of_tokens = (tokens.sum(-1) / mask.sum(-1))[some].double().numpy()
        for mode in modes:
            weights = assign_token_scores(mode, evidence, scores, 1.0).credit.weights
            of_credit = (weights * tokens).sum(-1)[some].double().numpy()
            yield (
                f"{kind:16} {int(some.sum()):7} {of_tokens.mean():7.1%}  {mode:9} "
                f"{of_credit.mean():7.1%}  {ratio(of_credit, of_tokens)}"
            )


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the settings; a wrong one ends the program with exit code 2."""
    parser = argparse.ArgumentParser(
        description="How much credit falls on what people marked as wrong in an answer?",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    usable = [mode.value for mode in RewardMode if "policy_attention" not in needs(mode)]
    add("--reward-model", required=True, metavar="FOLDER", help="folder or Hub id")
    add("--data", type=Path, required=True, metavar="FILE", help="qa_feedback_dev.jsonl[.gz]")
    add("--modes", nargs="+", choices=usable, default=list(MODES), help="ways to spread the score")
    add(
        "--template",
        default="{question}" + SEPARATOR,
        help="what stands before the answer; also {passages}",
    )
    add("--positive-label", help="which of two labels is the good one, if its name does not say")
    add("--device", default="cpu")
    add("--threads", type=int, default=1, help="torch's threads on the CPU")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what the reward model knows and where the credit falls."""
    settings = read_arguments(arguments)
    torch.set_num_threads(settings.threads)
    label = settings.positive_label
    if label is not None and label.isdecimal():
        label = int(label)
    rows = read_rows(settings.data)
    require_judgements(rows)
    model, tokenizer = load_reward_model(
        settings.reward_model, "reward_model", positive_label=label
    )
    reader = Reader(model.to(torch.device(settings.device)), tokenizer, settings.template)
    print(f"{len(rows)} questions\n")
    for line in direction(reader, rows):
        print(line, flush=True)
    for line in credit_table(reader, rows, settings.modes):
        print(line, flush=True)


if __name__ == "__main__":
    with fail_in_one_line():
        main()
