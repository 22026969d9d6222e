"""What a row is: told from the columns, or named; and what the columns are called."""

import pytest

from abcrl.config import ColumnsConfig, DataConfig, InputError
from abcrl.data.formats import LABELLED, PAIRS, PROMPTS, TEXTS, Layout, Use, find_layout
from abcrl.data.tables import Table


def layout_of(there: str, use: Use = TEXTS, /, **options: object) -> Layout:
    """Returns the layout of a file with these columns."""
    config = DataConfig.model_validate({"source": "/data/rows.csv", **options})
    return find_layout(Table("rows.csv", (), in_lines=True, columns=there.split()), config, use)


@pytest.mark.parametrize(
    ("columns", "texts", "labelled", "pairs", "prompts"),
    [
        ("id text", "text", None, None, "text"),
        ("text label", "text", "text", None, "text"),
        ("prompt", None, None, None, "prompt"),
        ("text prompt", "text", None, None, "text"),
        ("prompt response label text", "response", "response", None, "response"),
        ("messages label prompt response", "messages", "messages", None, "messages"),
        ("chosen rejected", "pairs", None, "pairs", "pairs"),
        ("prompt chosen rejected messages text label", "pairs", "messages", "pairs", "pairs"),
        ("chosen text", "text", None, None, "text"),
        ("response text label", "text", "text", None, "text"),
        ("body", None, None, None, None),
    ],
)
def test_the_format_is_told_from_the_columns(columns, texts, labelled, pairs, prompts):
    uses = {TEXTS: texts, LABELLED: labelled, PAIRS: pairs, PROMPTS: prompts}
    for use, expected in uses.items():
        if expected is None:
            with pytest.raises(InputError):
                layout_of(columns, use)
        else:
            assert layout_of(columns, use).format == expected


@pytest.mark.parametrize(
    ("columns", "named", "use", "expected"),
    [
        ("question chosen rejected", {"prompt": "question"}, PROMPTS, "pairs"),
        ("question text", {"prompt": "question"}, PROMPTS, "prompt"),
        ("prompt response review", {"text": "review"}, TEXTS, "text"),
        ("good bad text", {"chosen": "good", "rejected": "bad"}, TEXTS, "pairs"),
    ],
)
def test_what_the_user_names_goes_before_what_is_told(columns, named, use, expected):
    layout = layout_of(columns, use, columns=named)
    assert layout.format == expected
    assert set(named.values()) <= set(layout.columns.values())


@pytest.mark.parametrize(
    ("columns", "use", "options", "expected"),
    [
        (
            "body title",
            TEXTS,
            {},
            "data.columns: rows.csv must have the columns of texts to learn (chosen and rejected; "
            "or messages; or prompt and response; or text), received body, title; say which is "
            "which, e.g. with --set data.columns.text=NAME",
        ),
        (
            "text",
            LABELLED,
            {},
            "data.columns.label: must name a column of rows.csv, received 'label', but there are "
            "text; choose one with --label-column",
        ),
        (
            "text",
            PAIRS,
            {},
            "data.columns: rows.csv must have the columns of preference pairs (chosen and "
            "rejected), received text; say which is which, e.g. with --set "
            "data.columns.chosen=NAME",
        ),
        (
            "prompt text",
            TEXTS,
            {"format": "response"},
            "data.columns.response: must name a column of rows.csv, received 'response', but there "
            "are prompt, text; choose one with --set data.columns.response=NAME",
        ),
        (
            "text label",
            TEXTS,
            {"columns": {"prompt": "question"}},
            "data.columns.prompt: must name a column of rows.csv, received 'question', but there "
            "are text, label; choose one with --set data.columns.prompt=NAME",
        ),
        (
            "chosen rejected",
            PAIRS,
            {"columns": {"margin": "stars"}},
            "data.columns.margin: must name a column of rows.csv, received 'stars', but there are "
            "chosen, rejected; choose one with --set data.columns.margin=NAME",
        ),
        (
            "chosen rejected text label",
            LABELLED,
            {"format": "pairs"},
            "data.format: must be messages or response or text for labelled texts, received pairs; "
            "name another, or give other data with --dataset",
        ),
        (
            "prompt",
            TEXTS,
            {"format": "prompt"},
            "data.format: must be pairs or messages or response or text for texts to learn, "
            "received prompt; name another, or give other data with --dataset",
        ),
        (
            "text text",
            TEXTS,
            {},
            "rows.csv: must name each column once, received 'text' twice; rename one",
        ),
    ],
)
def test_columns_that_are_not_there_are_named(columns, use, options, expected):
    with pytest.raises(InputError) as refused:
        layout_of(columns, use, **options)
    assert str(refused.value) == expected


def test_a_label_that_nobody_reads_need_not_be_there():
    assert layout_of("text", columns={"label": "stars"}).format == "text"


def test_copies_are_told_by_the_named_columns_whatever_is_read():
    columns = "id text label chosen rejected"
    for use in (TEXTS, LABELLED, PAIRS, PROMPTS):
        assert layout_of(columns, use).known == ("chosen", "label", "rejected", "text")


def test_each_value_has_a_column_of_its_own_name():
    names = ColumnsConfig().model_dump()
    assert all(name in (key, None) for key, name in names.items())
