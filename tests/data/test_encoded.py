"""The cache of token ids: right whatever happened to its files, and keyed by content alone."""

from pathlib import Path

import datasets
import pytest

from abcrl.data.encoded import encode_texts

TEXTS = [f"text number {number}" for number in range(2500)]


class Encoder:
    """Encodes as bytes plus an offset, and counts what it was asked for."""

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset
        self.encoded = 0

    def __call__(self, texts: list[str]) -> list[list[int]]:
        self.encoded += len(texts)
        return [[byte + self.offset for byte in text.encode()] for text in texts]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    datasets.disable_progress_bars()
    return tmp_path / "abcrl"


def encode(texts: list[str], encoder: Encoder, identity: str = "plain") -> list[list[int]]:
    return [list(ids) for ids in encode_texts(texts, encoder, identity=identity)]


def test_texts_are_encoded_once(folder):
    first, second = Encoder(), Encoder()
    assert encode(TEXTS, first) == encode(TEXTS, second) == Encoder()(TEXTS)
    assert (first.encoded, second.encoded) == (len(TEXTS), 0)
    assert len(list(folder.glob("*.arrow"))) == 1


def test_other_texts_other_order_or_another_tokenizer_are_encoded_anew(folder):
    encode(TEXTS, Encoder())
    assert encode(TEXTS[::-1], Encoder()) == Encoder()(TEXTS[::-1])
    assert encode(TEXTS, Encoder(9), "other") == Encoder(9)(TEXTS)
    assert encode(["ab", "c"], Encoder()) != encode(["a", "bc"], Encoder())
    assert len(list(folder.glob("*.arrow"))) == 5


@pytest.mark.parametrize("share", [0, 0.01, 0.6, 0.999])
def test_a_damaged_file_is_made_again(folder, share):
    encode(TEXTS, Encoder())
    [file] = folder.glob("*.arrow")
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    assert encode(TEXTS, Encoder()) == Encoder()(TEXTS)
    unused = Encoder()
    assert encode(TEXTS, unused) == Encoder()(TEXTS)
    assert unused.encoded == 0


def test_no_place_to_write_is_no_reason_to_stop(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", Path(tmp_path / "file"))
    assert encode(TEXTS[:10], Encoder()) == Encoder()(TEXTS[:10])
