"""Which bytes of a decoded response each generated id stands for.

Ids that a policy has sampled are often not those that its text would be encoded to, so the offsets
of an encoded text cannot locate them. Here the bytes come from the ids: from the vocabulary, and
checked against what the tokenizer itself decodes.
"""

import re
import string
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Final

import numpy as np
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from abcrl.config import InputError

_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_BYTE_TOKEN: Final = re.compile(r"<0x([0-9A-F]{2})>")


@dataclass(frozen=True)
class DecodedResponse:
    """A response as text, and where each of its tokens stands in it.

    Attributes:
        prompt: The text before it.
        text: The response, without special tokens. A character that the prompt began and the
            response ended belongs to the response.
        edges: R + 1 positions in the UTF-8 bytes of `text`: token j stands from `edges[j]` to
            `edges[j + 1]`. A token without text, such as EOS, stands between two equal ones. Where
            ids share a replacement character, the parts can be fractions of its three bytes.
        ended: Whether the last token is EOS.
    """

    prompt: str
    text: str
    edges: tuple[float, ...]
    ended: bool


def decode_response(
    tokenizer: PreTrainedTokenizerBase, prompt_ids: list[int], response_ids: list[int]
) -> DecodedResponse:
    """Returns the text of a response and the place of each of its tokens in it.

    Prompt and response are decoded as one: on its own a response could lose the space that it
    begins with, or the character that the prompt has begun.

    Args:
        tokenizer: The policy's.
        prompt_ids: What the response continues, without padding.
        response_ids: The ids as generated, without padding.

    Raises:
        InputError: The tokenizer decodes in a way that no token can be located in.
    """
    pieces = token_bytes(tokenizer, [*prompt_ids, *response_ids])
    written = b"".join(pieces)
    places = [0.0, *accumulate(_shown_lengths(written))]
    ends = accumulate((len(piece) for piece in pieces), initial=0)
    edges = [places[end] for end in ends][len(prompt_ids) :]
    shown = written.decode(errors="replace").encode()
    start = int(edges[0])
    while start < len(shown) and shown[start] & 0xC0 == 0x80:  # inside of a character
        start -= 1
    return DecodedResponse(
        prompt=shown[:start].decode(),
        text=shown[start:].decode(),
        edges=tuple(edge - start for edge in edges),
        ended=response_ids[-1:] == [tokenizer.eos_token_id],
    )


def token_bytes(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[bytes]:
    """Returns the bytes that each id adds to the decoded text.

    Joined and decoded, with a replacement character for what is no UTF-8, they are the text that
    the tokenizer decodes the ids to. Special tokens, and ids that the tokenizer does not know, add
    nothing.

    Raises:
        InputError: The tokenizer decodes in a way that no token can be located in.
    """
    text = decode_text(tokenizer, ids)
    pieces = _from_vocabulary(tokenizer, ids)
    if pieces is not None and b"".join(pieces).decode(errors="replace") == text:
        return pieces
    return _from_prefixes(tokenizer, ids, text)


def own_bytes(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[bytes]:
    """Returns the bytes of each id where tokens are bytes; where they are characters, of spaces.

    Tokens are bytes in byte-level vocabularies and in those that fall back to bytes. In others the
    text need not hold what a token says (capital letters, accents), and all but white space is
    empty here. Special tokens have no bytes.
    """
    decoder, pieces = _decoder(tokenizer), _from_vocabulary(tokenizer, ids)
    if decoder is None or pieces is None:
        return [b""] * len(ids)
    if _is_byte_level(decoder) or _has_byte_tokens(decoder):
        return pieces
    return [piece if piece.isspace() else b"" for piece in pieces]


def decode_text(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """Returns the text of ids as it is, without special tokens."""
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _shown_lengths(written: bytes) -> list[float]:
    """Returns how many bytes of the decoded text each byte becomes.

    1 in a valid character. Bytes that cannot begin or continue one share the three bytes of the
    replacement character that stands for them.
    """
    lengths, start = [1.0] * len(written), 0
    while True:
        try:
            written[start:].decode()
        except UnicodeDecodeError as error:
            broken = slice(start + error.start, start + error.end)
            count = error.end - error.start
            lengths[broken] = [len(_REPLACEMENT.encode()) / count] * count
            start += error.end
        else:
            return lengths


def _decoder(tokenizer: PreTrainedTokenizerBase) -> Any | None:  # noqa: ANN401 - has no stubs
    """Returns the decoder of the tokenizers library; None where there is none to be asked."""
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        return None
    return tokenizer.backend_tokenizer.decoder


def _from_vocabulary(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[bytes] | None:
    """Returns the bytes of each id by its token, as yet unchecked; None without a decoder."""
    decoder = _decoder(tokenizer)
    if decoder is None:
        return None
    backend: Any = tokenizer.backend_tokenizer
    added = backend.get_added_tokens_decoder()
    special = {token_id for token_id, token in added.items() if token.special}
    tokens = [None if each in special else backend.id_to_token(each) for each in ids]
    shown = iter(_pieces(decoder, [token for token in tokens if token is not None]))
    return [b"" if token is None else next(shown) for token in tokens]


def _pieces(decoder: Any, tokens: list[str]) -> list[bytes]:  # noqa: ANN401
    """Returns what each token adds to the text, as the vocabulary tells."""
    if _is_byte_level(decoder):
        return [_byte_level_bytes(token) for token in tokens]
    # The decoder is asked token by token. The first one of a text it may treat in its own way;
    # what it does to any other shows behind a letter.
    pieces = [decoder.decode(["x", token]).removeprefix("x").encode() for token in tokens]
    pieces[:1] = [decoder.decode([token]).encode() for token in tokens[:1]]
    if _has_byte_tokens(decoder):
        _fill_byte_tokens(tokens, pieces)
    return pieces


def _is_byte_level(decoder: Any) -> bool:  # noqa: ANN401
    """Whether each character of a token is a byte, as in GPT-2's vocabulary."""
    return bool(decoder.decode(["Ã©"]) == "é")


def _has_byte_tokens(decoder: Any) -> bool:  # noqa: ANN401
    """Whether what has no token of its own is spelled in tokens such as <0xE2>."""
    return bool(decoder.decode(["<0x41>"]) == "A")


def _byte_level_bytes(token: str) -> bytes:
    # A token that was added as it is, with a space for example, stands for itself.
    if any(letter not in _BYTE_OF for letter in token):
        return token.encode()
    return bytes(_BYTE_OF[letter] for letter in token)


def _fill_byte_tokens(tokens: list[str], pieces: list[bytes]) -> None:
    """Puts the bytes of byte tokens into their pieces.

    The decoder takes each unbroken run of them as a whole: if it is no UTF-8, each of its tokens
    becomes a replacement character.
    """
    run: list[int] = []
    for place, token in enumerate([*tokens, ""]):
        if _BYTE_TOKEN.fullmatch(token):
            run.append(place)
            continue
        values = [int(tokens[each][3:5], 16) for each in run]
        try:
            bytes(values).decode()
        except UnicodeDecodeError:
            changed = dict.fromkeys(run, _REPLACEMENT.encode())
        else:
            # An ASCII byte is a whole character, which the decoder has shown already.
            shown = zip(run, values, strict=True)
            changed = {each: bytes([value]) for each, value in shown if value >= 0x80}
        for each, piece in changed.items():
            pieces[each] = piece
        run = []


def _from_prefixes(tokenizer: PreTrainedTokenizerBase, ids: list[int], text: str) -> list[bytes]:
    """Returns the bytes that each id adds when ever longer parts of the response are decoded.

    For tokenizers whose tokens do not tell. Ids that only together make a character share its bytes
    evenly. Decodes once for each id: slower than the vocabulary, and quadratic in the length.

    Raises:
        InputError: A longer part changes letters that a shorter one has shown.
    """
    settled, ends = [0], [0]
    for count in range(1, len(ids) + 1):
        shown = decode_text(tokenizer, ids[:count])
        # At its end a part may be unfinished: a character cut in two, a space that is taken back.
        firm = shown.rstrip(_REPLACEMENT + string.whitespace)
        if not text.startswith(firm):
            name = tokenizer.name_or_path or type(tokenizer).__name__
            raise InputError(
                f"policy: the tokenizer must add to its text and not rewrite it, received {name}, "
                f"which goes back on {firm[-20:]!r}; use a reward model with the policy's tokenizer"
            )
        if text.startswith(shown):
            settled.append(count)
            ends.append(max(ends[-1], len(shown.encode())))
    edges = np.interp(range(len(ids) + 1), settled, ends).astype(int).tolist()
    data = text.encode()
    return [data[start:end] for start, end in pairwise(edges)]


def _byte_level_alphabet() -> dict[str, int]:
    """Returns the byte that each character of a byte-level vocabulary stands for (Radford 2019)."""
    # GPT-2 writes printable Latin-1 as itself, and all other bytes as the characters from 256 on.
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    moved = {chr(256 + number): byte for number, byte in enumerate(others)}
    return {chr(byte): byte for byte in printable} | moved


_BYTE_OF: Final = _byte_level_alphabet()
