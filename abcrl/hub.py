"""The Hugging Face Hub, asked once: its libraries would try again and again for a minute."""

from pathlib import Path

from huggingface_hub import (
    constants,
    get_hf_file_metadata,
    get_session,
    hf_hub_url,
    logging,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from abcrl.config import InputError

# Seconds; a reachable Hub answers in a fraction of one.
_PATIENCE = 5.0
# What was loaded from the Hub before left one of these in the cache.
_CACHED = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json")
# What says more than the error's own words, which are about a request or a variable.
_KNOWN: dict[type[Exception], str] = {
    GatedRepoError: "a gated repository; ask for access on its page, and log in",
    OfflineModeIsEnabled: "no network, or HF_HUB_OFFLINE is set",
    RepositoryNotFoundError: "no such repository, or a private one",
}


def locate(reference: str, key: str) -> str:
    """Returns what to load from: a local path or a Hub id as it is, or the Hub id's cached copy.

    The copy only where the Hub does not give it, for want of a network, say.

    Args:
        reference: A resolved `ModelReference`.
        key: Configuration key to name.

    Raises:
        InputError: The Hub id is neither on the Hub nor in the cache.
    """
    if Path(reference).is_absolute():
        return reference
    try:
        get_hf_file_metadata(hf_hub_url(reference, "config.json"))
    except EntryNotFoundError:  # the repository is there: of a tokenizer, say
        return reference
    except HFValidationError as error:
        reason = " ".join(str(error).split())
    except Exception as error:  # not named: the HTTP library beneath has changed twice
        cached = [try_to_load_from_cache(reference, name) for name in _CACHED]
        copies = [Path(file).parent for file in cached if isinstance(file, str)]
        if copies:
            return str(copies[0])
        reason = _KNOWN.get(type(error), " ".join(str(error).split()))
    else:
        return reference
    raise InputError(
        f"{key}: must be a local folder or a Hub id that can be reached, received {reference} "
        f"({reason[:160]}); check the name and the network, or give a folder"
    )


def hub_answers() -> bool:
    """Whether the Hub can be reached at all."""
    logging.set_verbosity_error()  # it would count its attempts
    if constants.is_offline_mode():
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
    except Exception:  # no network, no name service, a proxy, a certificate: all the same here
        return False
    return True
