"""Texts as token ids, encoded once per tokenizer and kept on disk by content.

The key of the cache is what the ids follow from, texts and tokenizer, and nothing else: no file
name, no date, no seed of a run. It lies in the folder of the datasets library
(`HF_DATASETS_CACHE`) and may be deleted at any time.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import datasets
import pyarrow

_FEATURES = datasets.Features({"ids": datasets.List(datasets.Value("int32"))})


def encode_texts(
    texts: Sequence[str], encode: Callable[[list[str]], list[list[int]]], *, identity: str | None
) -> Sequence[list[int]]:
    """Returns the token ids of each text, from the cache where they are there.

    Args:
        texts: The texts.
        encode: From texts to ids, many at a time.
        identity: Whatever decides what `encode` returns: the whole content of the tokenizer; None
            where that cannot be told, and nothing is kept.
    """
    if identity is None:
        return encode(list(texts))
    digest = hashlib.blake2b(identity.encode(), digest_size=16)
    for text in texts:
        digest.update(f"\0{len(text)}\0{text}".encode())
    file = Path(datasets.config.HF_DATASETS_CACHE) / "abcrl" / f"{digest.hexdigest()}.arrow"
    kept = _read(file)
    if kept is None or len(kept) != len(texts):  # cut off by a full disk, say
        table = datasets.Dataset.from_dict({"text": list(texts)})
        options = {"batched": True, "remove_columns": ["text"], "features": _FEATURES}

        def encode_batch(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
            return {"ids": encode(batch["text"])}

        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            kept = table.map(
                encode_batch, cache_file_name=str(file), load_from_cache_file=False, **options
            )
        except OSError:  # no place to write: then this time only
            kept = table.map(encode_batch, keep_in_memory=True, **options)
    ids: Sequence[list[int]] = kept["ids"]
    return ids


def _read(file: Path) -> datasets.Dataset | None:
    try:
        return datasets.Dataset.from_file(str(file))
    except (pyarrow.ArrowException, OSError):
        return None
