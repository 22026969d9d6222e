"""What `abcrl train-rm` prints of a finished reward model."""

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from abcrl.analysis.quality.credit_spread import CreditSpread
    from abcrl.analysis.quality.preference_quality import PreferenceQuality
    from abcrl.analysis.quality.reward_quality import RewardModelQuality
    from abcrl.config import RewardModelSettings


def describe_quality(
    quality: "RewardModelQuality | PreferenceQuality", settings: "RewardModelSettings"
) -> list[str]:
    """Returns lines of at most 80 characters.

    Args:
        quality: What was measured on held-out texts or pairs.
        settings: What the model was trained with.
    """
    from abcrl.analysis.quality.preference_quality import PreferenceQuality

    if isinstance(quality, PreferenceQuality):
        lines, texts = _describe_pairs(quality, settings), "held-out chosen responses"
    else:
        lines, texts = _describe_classifier(quality, settings), "held-out texts"
    return lines if quality.credit is None else [*lines, *_describe_credit(quality.credit, texts)]


def _describe_classifier(
    quality: "RewardModelQuality", settings: "RewardModelSettings"
) -> list[str]:
    cut = f"on texts {_describe_cut(settings)}"
    bag, bag_truncated = quality.naive_bayes_accuracy, quality.naive_bayes_accuracy_truncated
    limit = quality.cut_to
    whole = "on complete texts" if limit is None else f"on texts of at most {limit} tokens"
    score = "score" if quality.score_offset is None else "score + offset"
    return [
        "held-out accuracy, beside that of naive Bayes on the same words:",
        f"  {quality.accuracy:.1%} (naive Bayes {bag:.1%}) {whole}",
        f"  {quality.accuracy_truncated:.1%} (naive Bayes {bag_truncated:.1%}) {cut}",
        f"calibration of P(positive) = sigmoid({score}):",
        f"  error {quality.calibration_error:.1%}, NLL {quality.nll:.2f} nats {whole}",
        f"  error {quality.calibration_error_truncated:.1%}, "
        f"NLL {quality.nll_truncated:.2f} nats {cut}",
        f"score {quality.score_mean:+.2f} on average, standard deviation {quality.score_std:.2f}",
        *_describe_offset(quality),
        *_describe_correlation(quality),
    ]


def _describe_cut(settings: "RewardModelSettings") -> str:
    assert settings.truncation is not None  # something was cut
    limit = settings.training.max_length
    lengths = settings.truncation.min_tokens, settings.truncation.max_tokens
    return f"cut to {min(lengths[0], limit)}-{min(lengths[1], limit)} tokens"


def _describe_pairs(quality: "PreferenceQuality", settings: "RewardModelSettings") -> list[str]:
    from abcrl.analysis.quality.preference_quality import say_preferences

    truncated = quality.accuracy_truncated
    pairs = "1 pair" if quality.pairs == 1 else f"{quality.pairs} pairs"
    rule = "longer" if quality.length_prefers_longer else "shorter"
    return [
        f"held-out accuracy on {pairs}: {quality.accuracy:.1%} "
        f"[{quality.accuracy_low:.1%}, {quality.accuracy_high:.1%}]",
        f"  preferring the {rule} response instead: {quality.length_accuracy:.1%}",
        *(f"  {part}" for part in say_preferences(quality).split("; ")),
        *([] if truncated is None else [f"  {truncated:.1%} on pairs {_describe_cut(settings)}"]),
        f"score(chosen) - score(rejected) {quality.margin_mean:+.2f} on average, standard "
        f"deviation {quality.margin_std:.2f}",
        "calibration of P(chosen before rejected) = sigmoid of that difference:",
        f"  error {quality.calibration_error:.1%}, NLL {quality.nll:.2f} nats per pair "
        f"(guessing: 0.69)",
        f"score {quality.score_chosen_mean:+.2f} on average on chosen, "
        f"{quality.score_rejected_mean:+.2f} on rejected",
        *_describe_offset(quality),
        *_describe_ending(quality),
        *_describe_correlation(quality),
    ]


def _describe_ending(quality: "PreferenceQuality") -> list[str]:
    from abcrl.analysis.quality.preference_quality import say_ending

    meaning = say_ending(quality)
    scores = (
        f"score {quality.score_chosen_mean:+.2f} on complete chosen responses,",
        f"  {quality.score_chosen_without_eos_mean:+.2f} on the same without their EOS",
    )
    if meaning is None:
        return [f"ending: {scores[0]}", scores[1]]
    indent = "  "
    said = textwrap.wrap(meaning, 80, initial_indent=indent, subsequent_indent=indent)
    return [f"ending matters: {scores[0]}", scores[1], *said]


def _describe_offset(quality: "RewardModelQuality | PreferenceQuality") -> list[str]:
    if quality.score_offset is None:
        return []
    return [f"  after an offset of {quality.score_offset:+.2f} has been taken off"]


def _describe_correlation(quality: "RewardModelQuality | PreferenceQuality") -> list[str]:
    if quality.length_pearson is None or quality.length_spearman is None:
        return []
    return [
        f"correlation of score and length {quality.length_pearson:+.2f} (of their ranks "
        f"{quality.length_spearman:+.2f})"
    ]


def _describe_credit(credit: "CreditSpread", texts: str) -> list[str]:
    lines = [
        f"ABC credit over {credit.texts} {texts} of {credit.tokens:.0f} tokens:",
        f"  {credit.effective_tokens:.1f} effective tokens, entropy {credit.entropy:.2f} nats",
        f"  {credit.first_token_share:.1%} on the first token, {credit.last_token_share:.1%} on "
        f"the last",
        f"  {credit.punctuation_share:.1%} on punctuation, which is "
        f"{credit.punctuation_token_share:.1%} of the tokens",
    ]
    if credit.causal_share is None or credit.causal_token_share is None:
        return lines
    return [
        *lines,
        f"  {credit.causal_share:.1%} on the words that truly decide, which are "
        f"{credit.causal_token_share:.1%} of the tokens",
    ]
