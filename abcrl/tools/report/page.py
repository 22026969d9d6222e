"""The report as one HTML page that asks no network for anything.

Whatever models, data, configurations and errors say stands on it as text: the template escapes
everything, and what would act without being HTML is spelled out. A policy in the page itself lets
no script run but the page's own.
"""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from statistics import fmean

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from abcrl import __version__
from abcrl.analysis.collect import ENDPOINT
from abcrl.analysis.figures.learning_curves import label_arm
from abcrl.analysis.verdicts import say_p

from .cards import make_cards
from .contents import Report
from .drawn import draw_all, picture_report, swatches
from .visible import visible

_MINUS = "\N{MINUS SIGN}"
_NONE = "\N{EN DASH}"
_MOST_LINES = 200
_MOST_ARMS = 200  # of a table or a list, and as many contrasts
_MOST_NUMBERS = 6000  # of all cells, in a table or on all cards
_MOST_LETTERS = 400  # of a value or a reason
_FINALS = (
    ("score", "final score", 2),
    ("gold_score", "final gold score", 2),
    ("kl_exact", "final KL", 1),
    ("length", "final length", 1),
    ("eos_rate", "final EOS rate", 2),
)


def render(report: Report) -> str:
    """Returns the page.

    Args:
        report: What it says; nothing in it is trusted.
    """
    environment = _environment()
    style, script = (_read(environment, name) for name in ("report.css", "report.js"))
    finals = [one for one in _FINALS if any(one[0] in arm.finals for arm in report.summary.arms)]
    return environment.get_template("report.html").render(
        report=report,
        summary=report.summary,
        arms=report.arms[:_MOST_ARMS],
        place={arm.name: number for number, arm in enumerate(report.arms)},
        seeds=sorted({cell.seed for cell in report.summary.cells}),
        cells={(cell.arm.name, cell.seed): cell for cell in report.summary.cells},
        cards=make_cards(report.summary)[:_MOST_ARMS],
        figures=draw_all(picture_report(report)),
        swatches=swatches(len(report.arms[:_MOST_ARMS])) if len(report.arms) > 1 else [],
        finals=finals,
        endpoint=ENDPOINT,
        mean_of=_mean_of,
        most_lines=_MOST_LINES,
        most_arms=_MOST_ARMS,
        most_numbers=_MOST_NUMBERS,
        version=__version__,
        style=style,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("abcrl.tools.report", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_show,
    )
    environment.filters.update(num=say_number, signed=say_signed, p=say_p, label=label_arm, cut=cut)
    return environment


def say_number(value: object, places: int = 2) -> str:
    """Returns a number as tables show it; a dash for None, words as they are."""
    if value is None:
        return _NONE
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return str(value).replace("-", _MINUS)
    if value and abs(value) < 10**-places:
        return f"{value:.2g}".replace("-", _MINUS)
    return f"{value:.{places}f}".replace("-", _MINUS)


def say_signed(value: float | None, places: int = 2) -> str:
    """Returns a difference with its sign; a dash for None."""
    if value is None:
        return _NONE
    return f"{value:+.{places}f}".replace("-", _MINUS)


def cut(text: object) -> str:
    """Returns the beginning of a text that may be of any length, and how much follows."""
    said = str(text)
    more = len(said) - _MOST_LETTERS
    return said if more <= 0 else f"{said[:_MOST_LETTERS]}[... {more:,} characters ...]"


def _mean_of(values: Mapping[int, float] | None) -> float | None:
    return fmean(values.values()) if values else None


def _show(value: object) -> object:
    """Spells out what acts in any text that a template prints; markup of our own passes."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _read(environment: Environment, name: str) -> Markup:
    assert environment.loader is not None  # set above
    source, _, _ = environment.loader.get_source(environment, name)
    return Markup(source)
