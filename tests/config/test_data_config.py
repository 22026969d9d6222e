"""What a source may be: built in, a file by its name, or a Hub id."""

import pytest

from abcrl.config import DataConfig, InputError, SftConfig, load_config
from abcrl.config.data import FILE_SUFFIXES


def data(*assignments: str) -> DataConfig:
    """Returns the data section that the command line would give."""
    return load_config(SftConfig, assignments=["run.output=x", *assignments]).data


@pytest.mark.parametrize("suffix", FILE_SUFFIXES)
@pytest.mark.parametrize("name", ["reviews", "folder/reviews", "./reviews", "../a/re.views"])
def test_what_ends_like_a_file_is_one_though_it_does_not_exist(tmp_path, monkeypatch, name, suffix):
    monkeypatch.chdir(tmp_path)
    config = data(f"data.source={name}{suffix}")
    assert config.source.startswith(str(tmp_path.parent))
    assert not config.on_hub
    assert not config.built_in


@pytest.mark.parametrize("name", ["imdb", "stanfordnlp/imdb", "a.b-c_d/e.f"])
def test_other_names_are_hub_ids(name):
    config = data(f"data.source={name}", "data.subset=plain_text", "data.split=test")
    assert config.source == name
    assert config.on_hub


def test_a_built_in_source_is_one_even_where_a_folder_has_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy").mkdir()
    assert data().source == data("data.source=toy").source == "toy"
    assert data().built_in


@pytest.mark.parametrize(
    "name",
    [
        "reviews.txt",
        "absent.txt",
        "a/absent.json",
        "./reviews",
        "/tmp",
        "a/b/c",
        "two words",
        "http://x.org/a.zip",
        "'..'",
    ],
)
def test_what_is_none_of_these_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews.txt").touch()
    with pytest.raises(
        InputError, match=r"^data\.source: must be toy, a file \(\.jsonl,"
    ) as refused:
        data(f"data.source={name}")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("source", ["toy", "reviews.csv"])
@pytest.mark.parametrize("key", ["subset", "split"])
def test_options_of_the_hub_are_refused_elsewhere(source, key):
    with pytest.raises(InputError, match=rf"^data: {key} must be left out unless source is a Hub"):
        data(f"data.source={source}", f"data.{key}=test")


@pytest.mark.parametrize(
    "labels", ["[1]", "[0, 1, 2]", "[1, '1']", "[true, false]", "[0.5, 1]", "5", "[[1], 2]"]
)
def test_labels_are_two_different_words_or_numbers(labels):
    with pytest.raises(InputError, match=r"^data\.labels: must be two different") as refused:
        data("data.source=a.csv", f"data.labels={labels}")
    assert len(str(refused.value).splitlines()) == 1


def test_labels_may_be_words():
    assert data("data.source=a.csv", "data.labels=[neg, pos]").labels == ["neg", "pos"]


@pytest.mark.parametrize("key", ["text_column=x", "label_column=x", "labels=[a, b]"])
def test_generated_texts_have_no_columns(key):
    with pytest.raises(InputError, match=rf"^data: {key.partition('=')[0]} must be left out with"):
        data(f"data.{key}")


def test_a_path_holds_no_nul():
    with pytest.raises(InputError, match=r"^data\.source: must hold no NUL"):
        data(r'data.source="a\0.jsonl"')
