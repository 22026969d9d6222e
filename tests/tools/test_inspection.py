"""What is to be known of a source: counted over all of its rows, whatever is wrong with them."""

import pytest
from transformers import PreTrainedTokenizerBase

from abcrl.config import InputError, InspectConfig
from abcrl.data import load_corpus
from abcrl.tools.inspection import Inspection
from abcrl.tools.lengths import Lengths
from tests.data.rows import write_rows
from tests.tools.inspected import report_of, troubles_of


@pytest.fixture
def tokenizer(tmp_path, tiny_tokenizer: PreTrainedTokenizerBase) -> str:
    """A folder with a tokenizer that begins no text with BOS and ends with <|endoftext|>."""
    tiny_tokenizer.save_pretrained(tmp_path / "tokenizer")
    return str(tmp_path / "tokenizer")


PAIRS = [
    {"prompt": f"p{number}", "chosen": "c" * (number + 2), "rejected": "r" * 5, "id": number}
    for number in range(10)
]


def test_pairs_are_counted_measured_and_divided(tmp_path):
    report = report_of(write_rows(tmp_path / "f.jsonl", PAIRS), validation_fraction=0.4)
    assert (report.rows, report.used, report.format, report.obstacle) == (10, 10, "pairs", "")
    assert report.train is not None
    assert report.heldout is not None
    assert report.train + report.heldout == 10
    assert report.heldout == len(
        load_corpus(
            InspectConfig.model_validate(
                {"data": {"source": report.source, "validation_fraction": 0.4}}
            ).data
        ).validation
    )
    # 2, 3, ... 11 characters against 5: longer from 6 on.
    assert report.chosen_longer == 0.6
    # The nearest rank: of ten values the sixth, the tenth and the tenth.
    assert list(report.lengths) == [
        Lengths("prompt", "characters", 2, 2, 2, 2, 2),
        Lengths("chosen", "characters", 2, 7, 11, 11, 11),
        Lengths("rejected", "characters", 5, 5, 5, 5, 5),
    ]
    assert report.labels == {}
    assert report.troubles == []
    assert (report.refused, report.limits) == (0, ())
    assert report.usable


def test_columns_are_shown_with_types_and_emptiness(tmp_path):
    rows = [
        {"text": "a", "turns": [{"role": "user", "content": "a"}], "more": 1, "label": True},
        {"text": " ", "turns": [], "more": 1.5, "label": False},
        {"text": "b", "turns": ["x"], "more": None, "label": 1, "late": {"a": 1}},
        {"text": "c", "turns": None, "more": 2, "label": 0},
    ]
    report = report_of(write_rows(tmp_path / "f.jsonl", rows))
    columns = {one.name: (one.kinds, one.empty) for one in report.columns}
    assert columns == {
        "text": (("text",), 0.25),
        "turns": (("turns", "list"), 0.5),
        "more": (("whole number", "number"), 0.25),
        "label": (("true/false", "whole number"), 0.0),
        "late": (("object",), 0.75),
    }


def test_every_problem_is_found_with_count_and_places(tmp_path):
    texts = [{"text": f"text {number}", "label": number % 2} for number in range(30)]
    rows: list[object] = [
        *texts,
        *texts[:4],
        {"text": " ", "label": 1},
        {"text": 5, "label": 1},
        "{",
        {"text": "text 2", "label": 1},
        {"text": "odd", "label": 2},
        {"text": "none"},
        {"text": "and\n\nHuman: says", "label": 1},
    ]
    file = write_rows(tmp_path / "f.jsonl", rows)
    refused = "refused (data.rows.bad=drop leaves out)"
    expected = {
        "copies of an earlier row": ("left out", 4, ("f.jsonl:31", "f.jsonl:32", "f.jsonl:33")),
        "empty text": ("left out", 1, ("f.jsonl:35",)),
        "text must be a string": (refused, 1, ("f.jsonl:36",)),
        "must be a JSON object on one line": (refused, 1, ("f.jsonl:37",)),
        "the same text with the other label": ("kept", 1, ("f.jsonl:38",)),
        "label must be 0 or 1": (
            "refused by train-rm's classifier alone",
            2,
            ("f.jsonl:39", "f.jsonl:40"),
        ),
        "a text spells a role marker": ("kept as words", 1, ("f.jsonl:41",)),
    }
    report = report_of(file)
    assert troubles_of(report) == expected
    assert (report.rows, report.used) == (41, 34)
    assert report.labels == {"1": 21, "0": 17, "2": 1}
    dropped = troubles_of(report_of(file, rows={"bad": "drop"}))
    assert dropped["text must be a string"] == ("left out", 1, ("f.jsonl:36",))


def test_a_source_of_unknown_columns_is_shown_with_what_stands_in_the_way(tmp_path):
    report = report_of(write_rows(tmp_path / "f.jsonl", [{"body": "a"}] * 7))
    assert report.format is None
    assert report.rows == 7
    assert [column.name for column in report.columns] == ["body"]
    assert report.obstacle.startswith("data.columns: ")
    assert (report.train, report.heldout, report.used) == (None, None, 0)
    assert not report.usable


def test_a_source_that_cannot_be_divided_is_shown_all_the_same(tmp_path):
    report = report_of(write_rows(tmp_path / "f.jsonl", [{"text": "a"}]))
    assert report.used == 1
    assert not report.usable
    assert report.obstacle.startswith("data.validation_fraction: must leave at least one")
    assert report.train is None
    report = report_of(write_rows(tmp_path / "f.jsonl", ["{", "5"]))
    assert report.rows == 2
    assert report.columns == []
    assert report.obstacle.startswith("data.source: must hold at least two texts")


def test_held_out_data_of_their_own_are_counted(tmp_path):
    file = write_rows(tmp_path / "f.jsonl", [{"text": f"{number}"} for number in range(9)])
    heldout = write_rows(tmp_path / "g.jsonl", [{"text": "3"}, {"text": "x"}])
    report = report_of(file, validation=str(heldout))
    assert (report.train, report.heldout, report.heldout_source) == (8, 2, str(heldout))
    assert troubles_of(report) == {
        "held out by data.validation": ("left out", 1, ("f.jsonl:4",)),
    }


def test_a_source_that_breaks_off_or_is_not_there_cannot_be_inspected(tmp_path):
    with pytest.raises(InputError, match="the file must exist"):
        report_of(tmp_path / "absent.jsonl")
    (tmp_path / "f.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="must be a whole Parquet file"):
        report_of(tmp_path / "f.parquet")


def rendered(report: Inspection) -> list[list[tuple[str, list[tuple[str, bool]]]]]:
    return [
        [(name, [(piece.text, piece.special) for piece in pieces]) for name, pieces in one.parts]
        for one in report.examples
    ]


def test_examples_are_drawn_from_anywhere_and_always_the_same(tmp_path):
    file = write_rows(tmp_path / "f.jsonl", [{"text": f"{number}"} for number in range(500)])
    report = report_of(file, examples=5)
    numbers = [int(one.place.rpartition(":")[2]) for one in report.examples]
    assert numbers == sorted(set(numbers))
    assert max(numbers) > 100
    assert len(numbers) == 5
    assert report_of(file, examples=5).examples == report.examples
    assert len(report_of(file, examples=0).examples) == 0


def test_without_a_tokenizer_examples_are_shown_in_their_template(tmp_path):
    file = write_rows(tmp_path / "f.jsonl", [{"prompt": "a", "response": "b"}])
    assert rendered(report_of(file)) == [[("prompt", [("a", False)]), ("response", [("b", False)])]]
    shown = rendered(report_of(file, template="Q: {prompt}\nA:{response}"))
    assert shown[0][0] == ("prompt", [("Q: a\nA:", False)])
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}]
    file = write_rows(tmp_path / "f.jsonl", [{"prompt": turns}])
    shown = rendered(report_of(file, template="chat"))
    assert shown == [[("prompt", [("system: s\nuser: a", False)])]]


def test_with_a_tokenizer_examples_are_what_the_policy_reads(tmp_path, tokenizer):
    spelled = "good <|endoftext|> plot"
    rows = [{"prompt": spelled, "chosen": " was", "rejected": " was not"}]
    file = write_rows(tmp_path / "f.jsonl", rows)
    report = report_of(file, tokenizer=tokenizer)
    end = ("<|endoftext|>", True)
    assert rendered(report) == [
        [
            ("prompt", [(spelled, False)]),
            ("chosen", [(" was", False), end]),
            ("rejected", [(" was not", False), end]),
        ]
    ]
    assert troubles_of(report) == {
        "a prompt spells the special token <|endoftext|>": ("kept as words", 1, ("f.jsonl:1",)),
    }
    tokens = {one.part: one.high for one in report.lengths if one.unit == "tokens"}
    assert tokens.keys() == {"prompt", "chosen", "rejected"}
    assert tokens["rejected"] > tokens["chosen"] >= 2


def test_whole_texts_are_shown_with_what_ends_them(tmp_path, tokenizer):
    file = write_rows(tmp_path / "f.jsonl", [{"text": "The plot"}])
    report = report_of(file, tokenizer=tokenizer)
    shown = rendered(report)
    assert shown == [[("text", [("The plot", False), ("<|endoftext|>", True)])]]
    [characters, tokens] = report.lengths
    assert (characters.unit, characters.high, tokens.unit) == ("characters", 8, "tokens")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (None, "turns, for which data.template says no form"),
        ("Q: {prompt}\nA:{response}", "several turns, for which data.template has one place"),
    ],
)
def test_prompts_that_the_template_has_no_place_for_are_told(tmp_path, tokenizer, template, reason):
    said = ("user", "assistant", "user", "assistant")
    turns = [{"role": role, "content": f"{n}"} for n, role in enumerate(said)]
    file = write_rows(tmp_path / "f.jsonl", [{"messages": turns}])
    for given in ({}, {"tokenizer": tokenizer}):
        report = report_of(file, template=template, **given)
        assert troubles_of(report) == {reason: ("refused", 1, ("f.jsonl:1",))}
        assert (report.used, report.refused, report.limits) == (1, 1, ())
        assert not report.usable
        name, pieces = rendered(report)[0][0]
        assert name == "prompt"
        assert pieces == [("user: 0\nassistant: 1\nuser: 2", False)]


def test_a_chat_template_that_nobody_names_was_not_tried(tmp_path):
    asked = write_rows(tmp_path / "f.jsonl", [{"prompt": f"{number}"} for number in range(9)])
    assert report_of(asked, template="chat").untried
    assert not report_of(asked).untried
    assert not report_of(asked, template="Q: {prompt}\nA:{response}").untried
    plain = write_rows(tmp_path / "g.jsonl", [{"text": f"{number}"} for number in range(9)])
    assert not report_of(plain, template="chat").untried


@pytest.mark.parametrize("template", ["chat", "Q: {prompt}\nA:{response}"])
def test_a_template_that_nothing_goes_into_is_told(tmp_path, template):
    file = write_rows(tmp_path / "f.jsonl", [{"text": "a"}, {"text": "b"}])
    report = report_of(file, template=template, validation_fraction=0.5)
    reason = "no prompt, which data.template is for"
    assert troubles_of(report) == {reason: ("refused", 2, ("f.jsonl:1", "f.jsonl:2"))}
    assert report.refused == 2
    assert not report.usable


def test_generated_reviews_are_inspected_like_any_source():
    report = report_of("toy", limit=300)
    assert (report.rows, report.used, report.format) == (300, 300, "text")
    assert (report.train or 0) + (report.heldout or 0) == 300
    assert sum(report.labels.values()) == 300
    assert "gold score" in report.uses["train-rm, bradley-terry"]
    assert report.troubles == []
