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
        "reviews.tsv",
        "absent.tsv",
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
    (tmp_path / "reviews.tsv").touch()
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


@pytest.mark.parametrize(
    "key",
    [
        "columns.text=x",
        "columns.label=x",
        "labels=[a, b]",
        "format=text",
        "template='{prompt}{response}'",
        "rows.bad=drop",
        "validation=a.csv",
    ],
)
def test_generated_texts_have_no_columns(key):
    name = key.partition("=")[0].partition(".")[0]
    with pytest.raises(InputError, match=rf"^data: {name} must be left out with"):
        data(f"data.{key}")


def test_held_out_data_are_a_file_or_a_split_of_the_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = data("data.source=a.csv", "data.validation=folder/b.jsonl")
    assert config.validation == str(tmp_path / "folder" / "b.jsonl")
    assert config.validation_file == tmp_path / "folder" / "b.jsonl"
    config = data("data.source=someone/pairs", "data.validation=test")
    assert config.validation == "test"
    assert config.validation_file is None
    assert data("data.source=someone/pairs", "data.validation=b.txt").validation_file is not None
    assert data("data.source=a.csv").validation_file is None
    with pytest.raises(InputError, match=r"^data: validation must be a file \(.*received 'test'"):
        data("data.source=a.csv", "data.validation=test")


def test_of_another_source_another_part_is_held_out(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "data: {source: someone/pairs, validation: test}\nrun: {output: x}\n", encoding="utf-8"
    )
    assert load_config(SftConfig, file=file).data.validation == "test"
    assert load_config(SftConfig, file=file, data={"source": "b/c"}).data.validation is None
    given = {"source": "b/c", "validation": "dev"}
    assert load_config(SftConfig, file=file, data=given).data.validation == "dev"


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("data.format=chat", r"data\.format: must be 'auto', 'text', 'response', 'pairs', 'messa"),
        ("data.columns.body=x", r"data\.columns\.body: unknown key, received 'x'"),
        ("data.columns.text=''", r"data\.columns\.text: "),
        ("data.rows.bad=keep", r"data\.rows\.bad: must be 'refuse' or 'drop', received 'keep'"),
        ("data.rows.min_characters=0", r"data\.rows\.min_characters: "),
        ("data.rows={min_characters: 9, max_characters: 8}", r"data\.rows: max_characters must be"),
    ],
)
def test_rows_and_columns_are_checked(setting, expected):
    with pytest.raises(InputError, match=rf"^{expected}") as refused:
        data("data.source=a.csv", setting)
    assert len(str(refused.value).splitlines()) == 1


def test_a_path_holds_no_nul():
    with pytest.raises(InputError, match=r"^data\.source: must hold no NUL"):
        data(r'data.source="a\0.jsonl"')
