"""One source for all stages: the same rows, divided alike, and of each what a stage needs."""

import gzip
import json
import os
from pathlib import Path

import datasets
import pytest

from abcrl.config import DataConfig
from abcrl.data import Example, Pair, load_corpus, load_pairs, load_prompts, read_pairs
from abcrl.data.hub import table_of
from abcrl.data.toy import generate_pairs, generate_reviews, gold_score
from abcrl.dialogue import PromptText
from tests.data.rows import config_of, write_rows

PAIRS = [
    {"prompt": f"p{number // 3}", "chosen": f"a{number}", "rejected": f"b{number}"}
    for number in range(120)
]


@pytest.mark.parametrize("limit", [None, 50])
def test_all_stages_hold_out_the_same_prompts(tmp_path, limit):
    file = write_rows(tmp_path / "f.jsonl", PAIRS)
    config = config_of(file, validation_fraction=0.3, limit=limit)
    pairs, texts, prompts = load_pairs(config), load_corpus(config), load_prompts(config)
    for part in ("train", "validation"):
        keys = [one.key for one in getattr(pairs, part)]
        assert [one.key for one in getattr(texts, part)] == keys
        assert [one.key for one in getattr(prompts, part)] == keys
    assert not {one.key for one in pairs.train} & {one.key for one in pairs.validation}
    assert len({pairs.fingerprint, texts.fingerprint, prompts.fingerprint}) == 3


def test_pairs_without_prompts_are_divided_before_their_chosen_side_is_taken(tmp_path):
    rows = [{"chosen": f"a{number}", "rejected": f"b{number}"} for number in range(100)]
    config = config_of(write_rows(tmp_path / "f.jsonl", rows), validation_fraction=0.3)
    pairs, texts = load_pairs(config), load_corpus(config)
    assert [pair.chosen for pair in pairs.train] == [one.text for one in texts.train]
    assert [one.text for one in load_prompts(config).train] == [one.text for one in texts.train]


def test_each_stage_takes_what_it_needs(tmp_path):
    config = config_of(write_rows(tmp_path / "f.jsonl", PAIRS), validation_fraction=0.3)
    pair = load_pairs(config).train[0]
    assert load_corpus(config).train[0] == Example(pair.chosen, prompt=pair.prompt)
    assert load_prompts(config).train[0] == Example("", prompt=pair.prompt)
    assert isinstance(pair.prompt, PromptText)


def test_margins_are_part_of_the_fingerprints(tmp_path):
    found = []
    for number, margin in enumerate((1, 2)):
        rows = [{**row, "margin": margin} for row in PAIRS]
        file = write_rows(tmp_path / f"{number}.jsonl", rows)
        config = config_of(file, validation_fraction=0.3, columns={"margin": "margin"})
        found.append(load_pairs(config).fingerprints)
    assert found[0]["texts"] == found[1]["texts"]
    assert found[0]["labels"] != found[1]["labels"]


def test_generated_pairs_are_of_consecutive_reviews_the_better_one_chosen():
    reviews = [review.text for review in generate_reviews(400, seed=3)]
    expected = [
        tuple(sorted(both, key=gold_score, reverse=True))
        for both in zip(reviews[::2], reviews[1::2], strict=True)
        if gold_score(both[0]) != gold_score(both[1])
    ]
    assert len(expected) > 150
    assert list(generate_pairs(len(expected), seed=3)) == expected
    assert list(generate_pairs(0, seed=3)) == []


def test_there_are_as_many_generated_pairs_as_asked_for():
    corpus = load_pairs(DataConfig(limit=200))
    assert len(corpus.train) + len(corpus.validation) == 200
    assert all(pair.prompt is None and pair.margin is None for pair in corpus.train)
    assert corpus.gold_score is not None
    assert all(gold_score(pair.chosen) > gold_score(pair.rejected) for pair in corpus.train)
    assert corpus == load_pairs(DataConfig(limit=200))
    told: list[str] = []
    read_pairs(DataConfig(limit=20, validation_fraction=0.5), told.append)
    assert told == []


def test_generated_texts_are_their_own_prompts():
    config = DataConfig(limit=100)
    assert load_prompts(config) == load_corpus(config)


def test_rows_of_a_loaded_dataset_are_those_of_a_file(tmp_path):
    dataset = datasets.Dataset.from_list(PAIRS)
    table = table_of(dataset, "someone/pairs (train)", {"chosen", "prompt"}, key="data.source")
    assert table.columns == ["prompt", "chosen", "rejected"]
    rows = list(table.rows)
    assert [number for number, _ in rows] == list(range(1, 121))
    assert [row for _, row in rows] == [
        {"prompt": row["prompt"], "chosen": row["chosen"]} for row in PAIRS
    ]
    assert table.place(4) == "pairs (train) row 4"


def test_examples_and_pairs_have_the_key_of_their_prompt():
    assert Example("a").key == "a"
    assert Example("a", prompt=PromptText("p")).key == "p"
    assert Example("a", prompt=PromptText(" ")).key == "a"
    assert Pair(PromptText("p"), "a", "b").key == "p"
    assert Pair(None, "a", "b").key == Pair(None, "b", "a").key == "a\0b"
    contents: list[Example | Pair] = [
        Example("a"),
        Example("a", prompt=PromptText("p")),
        Pair(None, "a", "b"),
    ]
    assert len({one.content for one in contents}) == 3


SHARED = Path(os.environ.get("ABCRL_SHARED", Path(__file__).parents[3] / "shared")) / "data"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the data for developers are not here")
def test_whole_transcripts_give_the_pairs_that_their_parts_give(tmp_path):
    source = SHARED / "hh_helpful_base_test.jsonl.gz"
    with gzip.open(source, "rt", encoding="utf-8", newline="\n") as file:
        rows = [json.loads(line) for line in file]
    joined = [{side: row["prompt"] + row[side] for side in ("chosen", "rejected")} for row in rows]
    given = load_pairs(DataConfig(source=str(source.absolute())))
    told = load_pairs(config_of(write_rows(tmp_path / "f.jsonl", joined)))
    assert told.train == given.train
    assert told.validation == given.validation
    assert len(given.train) + len(given.validation) == 350


def test_the_same_prompts_are_held_out_in_every_spelling(tmp_path):
    def heldout(number: int, rows: list[dict[str, object]]) -> set[str]:
        file = write_rows(tmp_path / f"{number}.jsonl", rows)
        corpus = load_corpus(config_of(file, validation_fraction=0.3))
        said = [one.prompt.conversation[0].content for one in corpus.validation if one.prompt]
        return set(said)

    texts = [f"q {number}" for number in range(100)]
    user = [[{"role": "user", "content": text}] for text in texts]
    found = [
        heldout(0, [{"prompt": text, "response": "a"} for text in texts]),
        heldout(1, [{"messages": [*one, {"role": "assistant", "content": "a"}]} for one in user]),
        heldout(2, [{"messages": f"\n\nHuman: {text}\n\nAssistant: a"} for text in texts]),
    ]
    assert found[0] == found[1] == found[2]
    assert 10 < len(found[0]) < 60


def test_texts_and_reverses_of_pairs_without_prompts_are_on_one_side(tmp_path):
    rows = [{"chosen": f"a{n % 50}", "rejected": f"b{n}"} for n in range(300)]
    rows += [{"chosen": row["rejected"], "rejected": row["chosen"]} for row in rows[:100]]
    config = config_of(write_rows(tmp_path / "f.jsonl", rows), validation_fraction=0.05)
    pairs = load_pairs(config)
    assert not {pair.key for pair in pairs.train} & {pair.key for pair in pairs.validation}
    reversed_pairs = {frozenset((pair.chosen, pair.rejected)) for pair in pairs.train}
    assert len(reversed_pairs) < len(pairs.train)
    for load in (load_corpus, load_prompts):
        corpus = load(config)
        sides = [text for pair in pairs.validation for text in (pair.chosen, pair.rejected)]
        assert not {one.text for one in corpus.train} & set(sides)
        assert corpus.left_out["texts that are held out too"].count > 0


def test_a_response_that_is_chosen_twice_is_learnt_once(tmp_path):
    rows = [{**row, "chosen": f"a{number // 2}"} for number, row in enumerate(PAIRS)]
    config = config_of(write_rows(tmp_path / "f.jsonl", rows), validation_fraction=0.3)
    pairs, texts, prompts = load_pairs(config), load_corpus(config), load_prompts(config)
    for part in ("train", "validation"):
        expected = [(one.key, one.chosen) for one in getattr(pairs, part)]
        assert [(one.key, one.text) for one in getattr(texts, part)] == list(
            dict.fromkeys(expected)
        )
        assert len(getattr(prompts, part)) == len(expected)
    left_out = texts.left_out["the same prompt and chosen response as an earlier pair"]
    assert left_out.count == 120 - len(texts.train) - len(texts.validation)
    kept = load_corpus(config.replace(rows=config.rows.replace(duplicates="keep")))
    assert len(kept.train) == len(pairs.train)


@pytest.mark.parametrize("load", [load_corpus, load_prompts])
def test_a_text_with_other_columns_beside_it_stays_where_it_is(tmp_path, load):
    rows = [{"text": f"{number // 2}", "label": number % 2} for number in range(60)]
    config = config_of(write_rows(tmp_path / "f.jsonl", rows), validation_fraction=0.3)
    corpus = load(config)
    assert len(corpus.train) + len(corpus.validation) == 60
