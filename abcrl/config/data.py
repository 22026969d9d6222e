"""Which texts, what their rows are, and how they are divided."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from .base import Group
from .columns import ColumnsConfig, Format, Labels, RowsConfig, zero_and_one
from .paths import NamesFiles, absolute_if_local
from .template import check_policy_template

FILE_SUFFIXES = (
    ".jsonl",
    ".jsonl.gz",
    ".csv",
    ".csv.gz",
    ".txt",
    ".txt.gz",
    ".parquet",
    ".arrow",
)
"""Kinds of file that texts are read from, by the end of the name."""

BUILT_IN_SOURCES = ("toy",)
"""Names that need no file and no network."""

SOURCE_KINDS = f"{', '.join(BUILT_IN_SOURCES)}, a file ({', '.join(FILE_SUFFIXES)}) or a Hub id"
"""What `data.source` may be, in words."""

# Endings of files that are not read: what has one is no Hub id either.
_OTHER_FILES = (".json", ".tsv", ".gz", ".zip", ".xlsx")
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def _source(value: str) -> str:
    """The built-in source, a file as an absolute path, or a Hub id.

    A name that ends like a file is one, whether it exists or not: a missing file must not be looked
    for on the Hub. A built-in source stays one even where a folder of that name lies about.
    """
    if value in BUILT_IN_SOURCES:
        return value
    reference = absolute_if_local(value)
    if reference.endswith(FILE_SUFFIXES):
        return str(Path(reference).absolute())
    local = Path(reference).is_absolute() or Path(reference).suffix in _OTHER_FILES
    if local or not _HUB_ID.fullmatch(reference):
        raise ValueError(f"must be {SOURCE_KINDS}, received {value!r}; choose one with --dataset")
    return reference


class DataConfig(Group):
    """Where the texts come from, what their rows hold, and how they are divided."""

    source: Annotated[str, Field(min_length=1), AfterValidator(_source), NamesFiles()] = "toy"
    """toy (generated reviews), a file (.jsonl, .csv, .txt, each also .gz; .parquet, .arrow) or a
    Hub id."""
    subset: str | None = None
    """Hub id: name of its configuration, where it has several."""
    split: Annotated[str, Field(min_length=1)] | None = None
    """Hub id: the split to read; null: train."""
    validation: Annotated[str, Field(min_length=1), NamesFiles()] | None = None
    """What is held out from all training: a file, or of a Hub id a split (--validation); null: a
    share of the source. Rows of the source that are in it are left out."""
    format: Format = "auto"
    """What a row is: text; response (prompt and response); pairs (chosen and rejected, with a
    prompt column, or beginning with the same prompt); messages (a conversation); prompt (nothing
    else). auto: told from the columns."""
    columns: ColumnsConfig = ColumnsConfig()
    labels: Labels = Field(default_factory=zero_and_one)
    """How the label column spells negative and positive, in this order, e.g. [neg, pos]."""
    template: Annotated[
        Annotated[str, Field(min_length=1)] | None, AfterValidator(check_policy_template)
    ] = None
    """What the policy reads around a prompt, and answers behind: a text with {prompt} that ends in
    {response}, or chat (its tokenizer's chat template; one that writes the date gives other tokens
    on another day). null: the prompt as it is."""
    rows: RowsConfig = RowsConfig()
    limit: Annotated[int, Field(ge=2)] | None = None
    """Use at most this many rows (drawn by the seed); null: all."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of the texts held out from all training, where validation names nothing."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the draw and the division; not the run's seed: all runs share one division."""

    @property
    def built_in(self) -> bool:
        """Whether the source needs no file and no network."""
        return self.source in BUILT_IN_SOURCES

    @property
    def on_hub(self) -> bool:
        """Whether the source is a Hub id."""
        return not self.built_in and not Path(self.source).is_absolute()

    @property
    def validation_file(self) -> Path | None:
        """The file that is held out; None where nothing is named, or a split of the Hub id."""
        if self.validation is None or not Path(self.validation).is_absolute():
            return None
        return Path(self.validation)

    @model_validator(mode="before")
    @classmethod
    def _held_out_file_is_absolute(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        named = values.get("validation")
        if not isinstance(named, str) or not named.endswith(FILE_SUFFIXES):
            return values
        return {**values, "validation": str(Path(absolute_if_local(named)).absolute())}

    @model_validator(mode="after")
    def _hub_options_belong_to_the_hub(self) -> "DataConfig":
        for key in ("subset", "split"):
            value = getattr(self, key)
            if value is not None and not self.on_hub:
                raise ValueError(
                    f"{key} must be left out unless source is a Hub id, received {value!r} with "
                    f"{self.source}; remove it"
                )
        if self.validation is not None and self.validation_file is None and not self.on_hub:
            raise ValueError(
                f"validation must be a file ({', '.join(FILE_SUFFIXES)}), or a split where source "
                f"is a Hub id, received {self.validation!r}; name a file, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _built_in_texts_have_no_columns(self) -> "DataConfig":
        for key in ("validation", "format", "columns", "labels", "template", "rows"):
            value = getattr(self, key)
            default = type(self).model_fields[key].get_default(call_default_factory=True)
            if self.built_in and value != default:
                raise ValueError(
                    f"{key} must be left out with source {self.source}, which is generated, "
                    f"received {value!r}; remove it or name a file with --dataset"
                )
        return self
