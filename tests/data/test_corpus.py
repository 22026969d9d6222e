"""The corpus: divided by the texts themselves, so that no run sees what another one held out."""

import pytest

from abcrl.config import DataConfig, InputError
from abcrl.data import Corpus, Example, corpus, load_corpus


def sides(loaded: Corpus) -> dict[str, str]:
    """Returns the side that each text is on; one text on both sides is an error."""
    train = {example.text: "train" for example in loaded.train}
    validation = {example.text: "validation" for example in loaded.validation}
    assert not train.keys() & validation.keys()
    return train | validation


def use_texts(monkeypatch, *examples: Example) -> None:
    """Makes a source named `given` out of some texts."""

    def load(config: DataConfig) -> Corpus:
        train, validation = corpus._divide(examples, config)
        return Corpus(train, validation, corpus._fingerprint([*train, *validation]))

    monkeypatch.setitem(corpus._SOURCES, "given", load)


def test_a_text_is_on_the_same_side_whatever_the_limit():
    few = sides(load_corpus(DataConfig(limit=150)))
    many = sides(load_corpus(DataConfig(limit=600)))
    assert set(few.values()) == {"train", "validation"}
    common = few.keys() & many.keys()
    assert len(common) > 100
    assert all(few[text] == many[text] for text in common)


def test_copies_of_a_text_stay_on_one_side(monkeypatch):
    examples = [Example(f"text {number % 40}", number % 2) for number in range(200)]
    use_texts(monkeypatch, *examples)
    loaded = load_corpus(DataConfig(source="given", validation_fraction=0.3))
    assert len(sides(loaded)) == 40
    assert len(loaded.train) + len(loaded.validation) == 200
    assert sorted(map(repr, [*loaded.train, *loaded.validation])) == sorted(map(repr, examples))


def test_order_does_not_change_the_division(monkeypatch):
    examples = [Example(f"text {number}", number % 2) for number in range(100)]
    config = DataConfig(source="given", validation_fraction=0.3)
    use_texts(monkeypatch, *examples)
    forwards = sides(load_corpus(config))
    use_texts(monkeypatch, *examples[::-1])
    assert sides(load_corpus(config)) == forwards


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.8])
def test_the_held_out_share_is_about_the_fraction(fraction):
    loaded = load_corpus(DataConfig(limit=2000, validation_fraction=fraction))
    assert len(loaded.validation) / 2000 == pytest.approx(fraction, abs=0.05)


def test_the_seed_changes_texts_and_division(monkeypatch):
    config = DataConfig(limit=100)
    assert load_corpus(config) == load_corpus(config)
    assert load_corpus(config.replace(seed=1)).fingerprint != load_corpus(config).fingerprint
    use_texts(monkeypatch, *[Example(f"text {number}") for number in range(100)])
    config = DataConfig(source="given", validation_fraction=0.3)
    assert sides(load_corpus(config)) != sides(load_corpus(config.replace(seed=1)))


def test_the_fingerprint_knows_texts_labels_and_order():
    def fingerprint(*examples: Example) -> str:
        return corpus._fingerprint(examples)

    base = fingerprint(Example("a", 1), Example("b", 0))
    assert base == fingerprint(Example("a", 1), Example("b", 0))
    others = [
        fingerprint(Example("a", 0), Example("b", 0)),
        fingerprint(Example("b", 0), Example("a", 1)),
        fingerprint(Example("a", 1)),
        fingerprint(Example("a", None), Example("b", 0)),
        fingerprint(Example("a0b", 1)),
    ]
    assert len({base, *others}) == 6


def test_the_toy_corpus_knows_gold_scores_and_causal_words():
    loaded = load_corpus(DataConfig(limit=300))
    assert len(loaded.train) + len(loaded.validation) == 300
    assert loaded.gold_score is not None
    assert loaded.causal_spans is not None
    text = loaded.train[0].text
    assert isinstance(loaded.gold_score(text), float)
    assert all(0 <= start < end <= len(text) for start, end in loaded.causal_spans(text))
    loaded.require_labels()


def test_an_unknown_source_is_refused():
    with pytest.raises(InputError) as refused:
        load_corpus(DataConfig(source="nonsense"))
    assert str(refused.value).startswith("data.source: must be one of toy, received 'nonsense'")
    assert len(str(refused.value).splitlines()) == 1


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
        ([Example("a", 1), Example("b", 1)], BOTH, "training", "received 1;"),
        (BOTH, [Example("c", 0)], "validation", "received 0;"),
        ([Example("a"), Example("b")], BOTH, "training", "received None;"),
        ([*BOTH, Example("c")], BOTH, "training", "received 0, 1, None;"),
        ([*BOTH, Example("c", 2)], BOTH, "training", "received 0, 1, 2;"),
        ([], BOTH, "training", "received none;"),
    ],
)
def test_texts_that_no_classifier_can_learn_from_are_refused(train, validation, part, received):
    with pytest.raises(InputError) as refused:
        Corpus(train, validation, fingerprint="").require_labels()
    message = str(refused.value)
    assert message.startswith(f"data.source: the {part} texts must carry both labels 0 and 1")
    assert received in message
    assert len(message.splitlines()) == 1
