"""What a supervised run leaves behind: the trained model, whole, and its adapters on request."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from abcrl.config import AdaptationConfig
from abcrl.models import Adapters, merge_adapters, save_adapters
from abcrl.storage import RunFolder


@contextmanager
def caching_as_before(model: PreTrainedModel) -> Iterator[None]:
    """Undoes what Trainer does for good: it switches off the cache that a model generates with.

    Args:
        model: That is trained in the context.
    """
    had, before = hasattr(model.config, "use_cache"), getattr(model.config, "use_cache", None)
    try:
        yield
    finally:
        if had:
            model.config.use_cache = before
        elif hasattr(model.config, "use_cache"):
            del model.config.use_cache


def finish_model(
    model: PreTrainedModel,
    adapters: Adapters | None,
    config: AdaptationConfig,
    folder: RunFolder,
    *,
    base: str,
    load_again: Callable[[], PreTrainedModel],
) -> PreTrainedModel:
    """Returns the trained model with its adapters merged; first writes them where they are kept.

    Args:
        model: As it was trained.
        adapters: What is on it; None: nothing, and the model is returned.
        config: The section `networks`.
        folder: Receives `adapter/`.
        base: Folder or Hub id of the model that was adapted.
        load_again: Returns that model, not quantised, as it was before training.
    """
    if adapters is None:
        return model
    if config.keep_adapter:
        with folder.new_folder("adapter") as place:
            save_adapters(model, adapters, place, base=base)
    into = None if config.quantization == "none" else load_again()
    return merge_adapters(model, adapters, into)


def save_final(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: RunFolder
) -> Path:
    """Saves model and tokenizer to `final/`, loadable with from_pretrained."""
    with folder.new_folder("final") as place:
        model.save_pretrained(place)
        tokenizer.save_pretrained(place)
    return folder.path / "final"
