"""Arms and evaluated cells made up by hand, for summaries."""

from collections.abc import Mapping

from abcrl.analysis import ArmInfo, CellCurve, Contrast

ABC = ArmInfo("abc", "abc", 0.8, 0.95)
RLHF = ArmInfo("rlhf", "rlhf", None, 0.95)
RLHF_1 = ArmInfo("rlhf-lambda-1", "rlhf", None, 1.0)


def cell(
    arm: ArmInfo,
    seed: int,
    *scores: float,
    gold: bool = True,
    inputs: Mapping[str, str] | None = None,
) -> CellCurve:
    """A curve evaluated at steps 0, 10, 20, ...; gold score and KL follow from the score."""
    metrics = {
        "eval/score": scores,
        "eval/kl_exact": tuple(2.0 * index for index in range(len(scores))),
        "eval/length": tuple(40.0 + seed for _ in scores),
    }
    if gold:
        metrics["eval/gold_score"] = tuple(score / 2 for score in scores)
    steps = tuple(10 * index for index in range(len(scores)))
    return CellCurve(arm.name, seed, steps, metrics, inputs=inputs or {})


# Steps 0, 10, 20. AUC of (a, b, c) is (a / 2 + b + c / 2) / 2: seed 1 of abc (0, 1, 2) has 1,
# seed 2 (1, 2, 4) has 2.25; rlhf (0, 0.5, 1) has .5 and (1, 1, 2) has 1.25.
CURVES = [
    cell(RLHF, 2, 1.0, 1.0, 2.0),
    cell(ABC, 1, 0.0, 1.0, 2.0),
    cell(ABC, 2, 1.0, 2.0, 4.0),
    cell(RLHF, 1, 0.0, 0.5, 1.0),
]
CONTRASTS = [Contrast("abc", "rlhf")]
