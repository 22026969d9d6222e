"""A language model as GPT-2 and Llama come: its vocabulary has no pad token."""

import json
from pathlib import Path

from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from abcrl.models import load_tokenizer
from abcrl.models.text.tokenizers import PAD


def save_without_pad_token(source: Path, folder: Path) -> Path:
    """Returns a folder with the model of `source`, whose token for padding is a word like others.

    Args:
        source: Folder of a model whose tokenizer was trained here.
        folder: Where to; it is made.
    """
    model = AutoModelForCausalLM.from_pretrained(source)
    model.config.pad_token_id = None
    model.generation_config.pad_token_id = None
    model.save_pretrained(folder)
    load_tokenizer(str(source), "source").save_pretrained(folder)
    vocabulary, roles = folder / "tokenizer.json", folder / "tokenizer_config.json"
    vocabulary.write_text(vocabulary.read_text().replace(PAD, "<|word|>"))
    said = json.loads(roles.read_text())
    del said["pad_token"]
    roles.write_text(json.dumps(said))
    assert_no_pad_token(load_tokenizer(str(folder), "folder"))
    return folder


def assert_no_pad_token(tokenizer: PreTrainedTokenizerBase) -> None:
    """A pad token that is added has no row in the model's embedding."""
    assert tokenizer.pad_token is None
    assert PAD not in tokenizer.get_vocab()
