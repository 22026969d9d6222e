"""Hub ids: asked for once, taken from the cache where the Hub is away, else refused in one line."""

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from transformers import PreTrainedTokenizerBase

from abcrl import hub
from abcrl.config import InputError, ModelConfig
from abcrl.hub import locate
from abcrl.models import build_causal_lm, load_causal_lm, load_tokenizer


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a Hub that answers nobody."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "get_hf_file_metadata", answer(ConnectionError("no\n network")))
    return tmp_path


def answer(error: Exception | None) -> Any:
    def ask(url: str) -> None:
        assert url.endswith("/config.json")
        if error is not None:
            raise error

    return ask


def of_the_hub(kind: Any) -> Exception:
    """An error of the Hub, without the response that it wants."""
    error: Exception = kind.__new__(kind)
    return error


def refuse(reference: str) -> str:
    with pytest.raises(InputError) as refused:
        locate(reference, "model.tokenizer")
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_local_path_asks_nobody(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "get_hf_file_metadata", None)
    path = str(tmp_path / "model")
    assert locate(path, "model.base") == path


def test_what_the_hub_has_is_read_from_there(cache, monkeypatch):
    for error in (None, of_the_hub(EntryNotFoundError)):  # the latter: a tokenizer's repository
        monkeypatch.setattr(hub, "get_hf_file_metadata", answer(error))
        assert locate("some/model", "model.base") == "some/model"


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("some/model", "no network"),
        ("a model", "Repo id must use alphanumeric chars"),
        ("a/b/c", "Repo id must be in the form"),
    ],
)
def test_what_cannot_be_had_is_refused(cache, reference, reason):
    line = refuse(reference)
    assert line.startswith(
        "model.tokenizer: must be a local folder or a Hub id that can be reached, received "
        f"{reference} ({reason}"
    )
    assert line.endswith("; check the name and the network, or give a folder")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (RepositoryNotFoundError, "(no such repository, or a private one); "),
        (GatedRepoError, "(a gated repository; "),
        (OfflineModeIsEnabled, "(no network, or HF_HUB_OFFLINE is set); "),
    ],
)
def test_what_the_hub_does_not_give_is_refused_with_the_reason(cache, monkeypatch, kind, reason):
    monkeypatch.setattr(hub, "get_hf_file_metadata", answer(of_the_hub(kind)))
    assert reason in refuse("some/model")


@pytest.mark.parametrize("load", [load_tokenizer, load_causal_lm])
def test_without_a_network_loading_ends_at_once(cache, load):
    start = time.monotonic()
    with pytest.raises(InputError, match=r"^policy: must be a local folder or a Hub id that can"):
        load("some/model", "policy")
    assert time.monotonic() - start < 20  # transformers alone tries for a minute


def test_without_a_network_the_cache_is_read(
    cache: Path, tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerBase
):
    snapshot = cache / "models--some--model" / "snapshots" / ("0" * 40)
    config = ModelConfig(base="tiny", context_length=32)
    build_causal_lm(config, tiny_tokenizer, seed=1).save_pretrained(snapshot)
    tiny_tokenizer.save_pretrained(snapshot)
    (cache / "models--some--model" / "refs").mkdir()
    (cache / "models--some--model" / "refs" / "main").write_text("0" * 40)

    start = time.monotonic()
    assert locate("some/model", "policy") == str(snapshot)
    model, tokenizer = load_causal_lm("some/model", "policy")
    assert time.monotonic() - start < 20
    assert model.config.vocab_size == len(tokenizer)
    assert tokenizer.get_vocab() == tiny_tokenizer.get_vocab()

    shutil.rmtree(cache / "models--some--model")
    refuse("some/model")
