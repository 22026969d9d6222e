"""The corpus: divided by the texts themselves, so that no run sees what another one held out."""

import json

import pytest

from abcrl.config import DataConfig, InputError
from abcrl.data import Corpus, Example, load_corpus


def sides(loaded: Corpus[Example]) -> dict[str, str]:
    """Returns the side that each text is on; one text on both sides is an error."""
    train = {example.text: "train" for example in loaded.train}
    validation = {example.text: "validation" for example in loaded.validation}
    assert not train.keys() & validation.keys()
    return train | validation


@pytest.fixture
def file_of(tmp_path):
    """Returns a function that writes texts to a file and gives its configuration."""

    def write(*examples: Example, **options: object) -> DataConfig:
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
        rows = [json.dumps({"text": one.text, "label": one.label}) + "\n" for one in examples]
        file.write_text("".join(rows), encoding="utf-8")
        return DataConfig.model_validate({"source": str(file), **options})

    return write


def test_a_text_is_on_the_same_side_whatever_the_limit():
    few = sides(load_corpus(DataConfig(limit=150)))
    many = sides(load_corpus(DataConfig(limit=600)))
    assert set(few.values()) == {"train", "validation"}
    common = few.keys() & many.keys()
    assert len(common) > 100
    assert all(few[text] == many[text] for text in common)


def test_copies_of_a_text_stay_on_one_side(file_of):
    examples = [Example(f"text {number % 40}", number % 2) for number in range(200)]
    config = file_of(*examples, validation_fraction=0.3, rows={"duplicates": "keep"})
    loaded = load_corpus(config, labelled=True)
    assert len(sides(loaded)) == 40
    assert len(loaded.train) + len(loaded.validation) == 200
    assert sorted(map(repr, [*loaded.train, *loaded.validation])) == sorted(map(repr, examples))


def test_neither_order_nor_file_change_the_division(file_of):
    examples = [Example(f"text {number}", number % 2) for number in range(100)]
    forwards = sides(load_corpus(file_of(*examples, validation_fraction=0.3)))
    backwards = sides(load_corpus(file_of(*examples[::-1], validation_fraction=0.3)))
    assert forwards == backwards


def test_a_smaller_limit_draws_some_of_the_same_texts_from_anywhere(file_of):
    examples = [Example(f"text {number:03}", number % 2) for number in range(200)]

    def drawn(limit: int, seed: int = 0) -> set[str]:
        config = file_of(*examples, validation_fraction=0.3, limit=limit, seed=seed)
        return set(sides(load_corpus(config)))

    assert len(drawn(30)) == 30
    assert drawn(30) < drawn(90)
    assert drawn(30) != drawn(30, seed=1)
    assert max(drawn(30)) > "text 100"  # not just the first
    assert drawn(1000) == {example.text for example in examples}


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.8])
def test_the_held_out_share_is_about_the_fraction(fraction):
    loaded = load_corpus(DataConfig(limit=2000, validation_fraction=fraction))
    assert len(loaded.validation) / 2000 == pytest.approx(fraction, abs=0.05)


def test_the_seed_changes_texts_and_division(file_of):
    config = DataConfig(limit=100)
    assert load_corpus(config) == load_corpus(config)
    assert load_corpus(config.replace(seed=1)).fingerprint != load_corpus(config).fingerprint
    config = file_of(*[Example(f"text {number}") for number in range(100)], validation_fraction=0.3)
    assert sides(load_corpus(config)) != sides(load_corpus(config.replace(seed=1)))


def test_labels_are_read_only_where_they_are_asked_for(file_of):
    config = file_of(*[Example(f"text {number}", 7) for number in range(50)])
    assert {example.label for example in load_corpus(config).train} == {None}
    with pytest.raises(InputError, match="label must be 0 or 1, received 7"):
        load_corpus(config, labelled=True)


def test_blank_texts_are_left_out_and_counted(file_of):
    texts = ["", " \n\t", "\u2028", *[f"text {number}" for number in range(50)]]
    loaded = load_corpus(file_of(*map(Example, texts)))
    assert len(loaded.train) + len(loaded.validation) == 50
    assert loaded.left_out["empty text"].count == len(loaded.left_out) == 3
    with pytest.raises(InputError, match=r"data\.source: must hold .* with none .*\(empty text\)"):
        load_corpus(file_of(Example(" "), Example("")))


def test_the_fingerprints_know_texts_order_and_labels(file_of):
    first, second = Example("a", 1), Example("b", 0)
    many = [Example(f"text {number}", number % 2) for number in range(60)]

    def fingerprints(*examples: Example, labelled: bool = True) -> dict[str, str]:
        return load_corpus(file_of(*examples, *many), labelled=labelled).fingerprints

    base = fingerprints(first, second)
    assert base == fingerprints(first, second)
    assert base["texts"] == fingerprints(first, second, labelled=False)["texts"]
    relabelled = fingerprints(Example("a", 0), second)
    assert relabelled["texts"] == base["texts"]
    assert relabelled["labels"] != base["labels"]
    others = [(second, first), (first,), (Example("ab", 1), Example("", 0)), (Example("a0b", 1),)]
    assert len({base["texts"], *(fingerprints(*one)["texts"] for one in others)}) == 5


def test_a_sample_of_a_sorted_file_holds_both_classes(file_of):
    examples = [Example(f"text {number}", int(number >= 1000)) for number in range(2000)]
    loaded = load_corpus(file_of(*examples, validation_fraction=0.4), labelled=True)
    sample = loaded.sample_validation(200)
    assert len(sample) == len(set(sample)) == 200
    assert 70 < sum(example.label == 1 for example in sample) < 130
    assert sample == loaded.sample_validation(200)
    assert set(loaded.sample_validation(50)) < set(sample)
    assert loaded.sample_validation(10**6) == list(loaded.validation)


def test_the_toy_corpus_knows_gold_scores_and_causal_words():
    loaded = load_corpus(DataConfig(limit=300))
    assert len(loaded.train) + len(loaded.validation) == 300
    assert loaded.gold_score is not None
    assert loaded.causal_spans is not None
    text = loaded.train[0].text
    assert isinstance(loaded.gold_score(text), float)
    assert all(0 <= start < end <= len(text) for start, end in loaded.causal_spans(text))
    loaded.require_labels()


@pytest.mark.parametrize(("fraction", "side"), [(1e-9, "validation"), (1 - 1e-9, "training")])
def test_an_empty_side_is_refused(fraction, side):
    with pytest.raises(InputError, match=f"at least one {side} text") as refused:
        load_corpus(DataConfig(limit=20, validation_fraction=fraction))
    assert str(refused.value).startswith("data.validation_fraction: ")
    assert len(str(refused.value).splitlines()) == 1


BOTH = [Example("a", 0), Example("b", 1)]


@pytest.mark.parametrize(
    ("train", "validation", "part", "received"),
    [
        (
            [Example("a", 1), Example("b", 1)],
            BOTH,
            "training",
            "received 2 positive, 0 negative and 0 unlabelled;",
        ),
        (
            BOTH,
            [Example("c", 0)],
            "validation",
            "received 0 positive, 1 negative and 0 unlabelled;",
        ),
        (
            [Example("a"), Example("b")],
            BOTH,
            "training",
            "received 0 positive, 0 negative and 2 unlabelled;",
        ),
        (
            [*BOTH, Example("c")],
            BOTH,
            "training",
            "received 1 positive, 1 negative and 1 unlabelled;",
        ),
        ([], BOTH, "training", "received 0 positive, 0 negative and 0 unlabelled;"),
    ],
)
def test_texts_that_no_classifier_can_learn_from_are_refused(train, validation, part, received):
    with pytest.raises(InputError) as refused:
        Corpus(train, validation, fingerprint="").require_labels()
    message = str(refused.value)
    assert message.startswith(f"data.source: the {part} texts must be of both classes")
    assert received in message
    assert len(message.splitlines()) == 1
