"""Content hashes of files: they tell a file that was changed from one that was not."""

import hashlib
from pathlib import Path

_BLOCK = 2**20


def file_size(file: Path) -> int:
    """Returns the length of a file in bytes; 0 where there is none."""
    return file.stat().st_size if file.exists() else 0


def hash_start(file: Path, length: int) -> hashlib.blake2b:
    """Returns the blake2b hash of the first `length` bytes, to which more can be added.

    Args:
        file: It may be shorter: then all of it counts. For a length of 0 it need not be there.
        length: In bytes.
    """
    digest = hashlib.blake2b()
    if length > 0:
        with file.open("rb") as opened:
            while block := opened.read(min(length, _BLOCK)):
                digest.update(block)
                length -= len(block)
    return digest


def hash_code(package: Path) -> str:
    """Returns a hash of a package's Python and YAML files: their relative paths and their bytes.

    Returns:
        32 hexadecimal digits, the same wherever the package lies.
    """
    digest = hashlib.blake2b(digest_size=16)
    files = [path for path in package.rglob("*") if path.suffix in {".py", ".yaml"}]
    for name, file in sorted((path.relative_to(package).as_posix(), path) for path in files):
        content = file.read_bytes()
        digest.update(f"{name}\n{len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
