"""Every random draw of a run comes from a generator seeded by hash(seed, stream, indices).

No random state is ever saved or carried from one draw to the next, so a draw does not depend on
what was drawn before it, on the batch it is part of, or on the number of processes.
"""

import hashlib


def stream_seed(seed: int, stream: str, *indices: int | str) -> int:
    """Returns a 63-bit seed for one draw, e.g. `stream_seed(run_seed, "response", step, row)`."""
    key = "/".join(str(part) for part in (seed, stream, *indices))
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
