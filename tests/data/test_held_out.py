"""Held-out data of their own: all of them, and nothing of them in training."""

import pytest

from abcrl.config import InputError
from abcrl.data import load_corpus, load_pairs, load_prompts
from tests.data.rows import config_of, write_rows


def texts(*numbers: int) -> list[dict[str, object]]:
    return [{"text": f"text {number}", "label": number % 2} for number in numbers]


def test_a_held_out_file_is_the_held_out_part_and_not_trained_on(tmp_path):
    source = write_rows(tmp_path / "train.jsonl", texts(*range(100)))
    heldout = write_rows(tmp_path / "heldout.jsonl", texts(7, 200, 201, 3))
    config = config_of(source, validation=str(heldout))
    corpus = load_corpus(config, labelled=True)
    assert [example.text for example in corpus.validation] == [
        "text 7",
        "text 200",
        "text 201",
        "text 3",
    ]
    assert len(corpus.train) == 98
    assert list(corpus.notes()) == [
        "data: 2 rows left out: held out by data.validation (train.jsonl:4, train.jsonl:8)"
    ]


def test_the_limit_is_about_what_is_trained_on(tmp_path):
    source = write_rows(tmp_path / "train.jsonl", texts(*range(100)))
    heldout = write_rows(tmp_path / "heldout.jsonl", texts(*range(95, 150)))
    config = config_of(source, validation=str(heldout), limit=10)
    corpus = load_corpus(config)
    assert (len(corpus.train), len(corpus.validation)) == (10, 55)
    assert not {one.key for one in corpus.train} & {one.key for one in corpus.validation}
    whole = load_corpus(config.replace(limit=None))
    assert {one.text for one in corpus.train} < {one.text for one in whole.train}


def test_the_fingerprint_knows_both_parts(tmp_path):
    source = write_rows(tmp_path / "train.jsonl", texts(*range(20)))
    found = set()
    for number, rows in enumerate([texts(50), texts(51), texts(50, 51)]):
        heldout = write_rows(tmp_path / f"heldout{number}.jsonl", rows)
        found.add(load_corpus(config_of(source, validation=str(heldout))).fingerprint)
    assert len(found) == 3


def test_another_kind_of_file_may_be_held_out(tmp_path):
    source = write_rows(tmp_path / "train.jsonl", texts(*range(20)))
    (tmp_path / "heldout.txt").write_text("text 3\nanother\n", encoding="utf-8")
    corpus = load_corpus(config_of(source, validation=str(tmp_path / "heldout.txt")))
    assert (len(corpus.train), len(corpus.validation)) == (19, 2)


def test_a_prompt_of_the_held_out_pairs_is_not_trained_on(tmp_path):
    def pairs(*prompts: int) -> list[dict[str, object]]:
        return [
            {"prompt": f"p{prompt}", "chosen": f"{number} a", "rejected": f"{number} b"}
            for number, prompt in enumerate(prompts)
        ]

    source = write_rows(tmp_path / "train.jsonl", pairs(1, 1, 2, 3, 3, 3))
    heldout = write_rows(tmp_path / "heldout.jsonl", pairs(3, 4))
    config = config_of(source, validation=str(heldout))
    for load in (load_pairs, load_corpus, load_prompts):
        corpus = load(config)
        assert [one.key for one in corpus.train] == ["p1", "p1", "p2"]
        assert [one.key for one in corpus.validation] == ["p3", "p4"]


def test_held_out_data_of_another_format_are_refused(tmp_path):
    source = write_rows(tmp_path / "train.jsonl", texts(*range(20)))
    heldout = write_rows(tmp_path / "heldout.jsonl", [{"chosen": "a", "rejected": "b"}])
    with pytest.raises(InputError) as refused:
        load_corpus(config_of(source, validation=str(heldout)))
    assert str(refused.value).startswith(
        f"data.validation: must hold rows of the format of data.source (text), received {heldout} "
        f"of pairs; give another"
    )


def test_held_out_data_that_cannot_be_used_are_refused_by_their_own_name(tmp_path):
    source = write_rows(tmp_path / "train.jsonl", texts(*range(20)))
    heldout = write_rows(tmp_path / "heldout.jsonl", [{"text": " ", "label": 1}])
    config = config_of(source, validation=str(heldout))
    with pytest.raises(InputError, match=r"^data\.validation: must hold at least two texts"):
        load_corpus(config)
    write_rows(heldout, [{"text": "a"}, {"text": 5}])
    with pytest.raises(InputError, match=r"heldout\.jsonl:2: text must be a string"):
        load_corpus(config)
    write_rows(heldout, texts(*range(20)))
    with pytest.raises(InputError, match=r"^data\.source: .* \(held out by data\.validation\)"):
        load_corpus(config)


def test_a_held_out_row_protects_its_text_whatever_a_stage_does_not_read_of_it(tmp_path):
    source = write_rows(tmp_path / "train.jsonl", texts(*range(40)))
    rows: list[dict[str, object]] = [*texts(*range(6, 12))]
    rows += [{"text": f"text {n}", "label": None} for n in range(6)]
    rows += [{"text": "text 20"}, {"text": "text 21", "label": 1}, {"text": "text 21", "label": 1}]
    heldout = write_rows(tmp_path / "heldout.jsonl", rows)
    config = config_of(source, validation=str(heldout), rows={"bad": "drop", "max_characters": 7})
    classifier, prompts = load_corpus(config, labelled=True), load_prompts(config)
    assert not {one.text for one in classifier.train} & {str(row["text"]) for row in rows}
    assert [one.text for one in classifier.train] == [one.text for one in prompts.train]
    assert classifier.left_out["held out by data.validation"].count == 14


def asked(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        ({"prompt": "q", "chosen": "same", "rejected": "same "}, {}),
        ({"prompt": "q", "chosen": "", "rejected": "b"}, {}),
        ({"prompt": "q", "chosen": 5, "rejected": "b"}, {"rows": {"bad": "drop"}}),
        ({"prompt": asked("q"), "chosen": "a", "rejected": "b"}, {}),
        ({"prompt": "\n\nHuman: q\n\nAssistant:", "chosen": "a", "rejected": "b"}, {}),
    ],
)
def test_a_held_out_prompt_is_protected_in_every_spelling(tmp_path, row, shown):
    others = [{"prompt": f"q{n}", "chosen": f"{n}", "rejected": "no"} for n in range(4)]
    source = write_rows(
        tmp_path / "train.jsonl", [*others, {"prompt": " q\n", "chosen": "c", "rejected": "d"}]
    )
    heldout = write_rows(
        tmp_path / "heldout.jsonl", [{"prompt": "z", "chosen": "y", "rejected": "n"}, row]
    )
    config = config_of(source, validation=str(heldout), **shown)
    for load in (load_pairs, load_corpus, load_prompts):
        assert [one.key for one in load(config).train] == ["q0", "q1", "q2", "q3"]


@pytest.mark.parametrize(
    ("row", "gone"),
    [
        ({"chosen": "c3", "rejected": "c3 "}, "c3"),
        ({"chosen": "new", "rejected": "c3"}, "c3"),
        ({"chosen": 5, "rejected": "c3"}, "c3"),
    ],
)
def test_a_text_of_a_held_out_pair_is_not_learnt(tmp_path, row, gone):
    pairs = [{"chosen": f"c{n}", "rejected": f"r{n}"} for n in range(6)]
    source = write_rows(tmp_path / "train.jsonl", pairs)
    heldout = write_rows(tmp_path / "heldout.jsonl", [{"chosen": "y", "rejected": "n"}, row])
    config = config_of(source, validation=str(heldout), rows={"bad": "drop"})
    for load in (load_corpus, load_prompts):
        corpus = load(config)
        assert [one.text for one in corpus.train] == [f"c{n}" for n in range(6) if f"c{n}" != gone]
        assert corpus.left_out["texts that are held out too"].places == ("train.jsonl:4",)
    assert len(load_pairs(config).train) == 6  # another pair


def test_a_held_out_pair_protects_its_reverse(tmp_path):
    pairs = [{"chosen": f"c{n}", "rejected": f"r{n}"} for n in range(6)]
    source = write_rows(tmp_path / "train.jsonl", pairs)
    heldout = write_rows(tmp_path / "heldout.jsonl", [{"chosen": "r2", "rejected": "c2"}])
    corpus = load_pairs(config_of(source, validation=str(heldout)))
    assert [pair.chosen for pair in corpus.train] == ["c0", "c1", "c3", "c4", "c5"]


def test_held_out_rows_without_the_prompts_of_the_source_are_refused(tmp_path):
    prompted = [{"prompt": f"q{n}", "chosen": "a", "rejected": "b"} for n in range(9)]
    plain = [{"chosen": f"a{n}", "rejected": "b"} for n in range(9)]
    for one, other, message in (
        (prompted, plain, "must hold rows with prompts, as data.source does, received"),
        (plain, prompted, "must hold rows with no prompts, as data.source does, received"),
    ):
        source = write_rows(tmp_path / "train.jsonl", one)
        heldout = write_rows(tmp_path / "heldout.jsonl", other)
        with pytest.raises(InputError) as refused:
            load_prompts(config_of(source, validation=str(heldout)))
        assert str(refused.value).startswith(f"data.validation: {message} {heldout} with ")
