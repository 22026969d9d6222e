"""Datasets that the datasets library loads: their splits, their columns, the names of their rows.

It takes a folder in the working directory for a Hub id of that name, so nothing is downloaded.
"""

import datasets
import pytest

from abcrl.config import DataConfig, InputError
from abcrl.data import Pair, load_pairs
from abcrl.data.hub import open_hub_table
from tests.data.rows import write_rows


@pytest.fixture
def hub_id(tmp_path, monkeypatch) -> str:
    """The id of a dataset of pairs with the splits train and test."""
    folder = tmp_path / "someone" / "pairs"
    folder.mkdir(parents=True)
    for split, count in (("train", 40), ("test", 3)):
        rows = [
            {"id": n, "prompt": f"{split} {n}", "chosen": f"a{n}", "rejected": f"b{n}"}
            for n in range(count)
        ]
        write_rows(folder / f"{split}.jsonl", rows)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return "someone/pairs"


def config_of(hub_id: str, **options: object) -> DataConfig:
    """Returns the configuration of a Hub id, whatever lies in the working directory."""
    plain = DataConfig.model_validate({"source": "nobody/nothing", **options})
    return plain.model_copy(update={"source": hub_id})


def test_the_train_split_is_read_where_none_is_named(hub_id):
    corpus = load_pairs(config_of(hub_id, validation_fraction=0.3))
    assert len(corpus.train) + len(corpus.validation) == 40
    assert all(isinstance(pair, Pair) for pair in corpus.train)
    assert {pair.key.split()[0] for pair in corpus.train} == {"train"}


def test_a_split_may_be_held_out(hub_id):
    corpus = load_pairs(config_of(hub_id, validation="test"))
    assert len(corpus.train) == 40
    assert [pair.key for pair in corpus.validation] == ["test 0", "test 1", "test 2"]


def test_a_split_may_be_read_in_place_of_train(hub_id):
    table = open_hub_table(config_of(hub_id, split="test"), {"chosen"})
    assert table.columns == ["id", "prompt", "chosen", "rejected"]
    assert list(table.rows) == [(1, {"chosen": "a0"}), (2, {"chosen": "a1"}), (3, {"chosen": "a2"})]
    assert table.at(2) == "someone/pairs (test), row 2"


@pytest.mark.parametrize(
    ("options", "key", "received"),
    [
        ({"split": "dev"}, "data.source", "received 'someone/pairs'"),
        ({"validation": "dev"}, "data.validation", "received split 'dev' of 'someone/pairs'"),
    ],
)
def test_a_split_that_is_not_there_is_refused_by_its_own_name(hub_id, options, key, received):
    with pytest.raises(InputError) as refused:
        load_pairs(config_of(hub_id, **options))
    assert str(refused.value).startswith(f"{key}: must be a Hub dataset that can be loaded, ")
    assert received in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
