"""Weights and features of a run: each file is written with its SHA-256 beside it, and compared before it is read.

best.weights.h5         replaced whenever an epoch is the best so far
best.weights.h5.sha256  "HASH  best.weights.h5"; for a moment two lines, of the new file and of the one it replaces
"""

import contextlib
import hashlib
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from carclf import hashed_json
from carclf.advice import adds_hashes
from carclf.errors import UserError
from carclf.files import replacing, write_atomically
from carclf.runs.run_files import ADVICE, METRICS_FILE

WEIGHTS = ".weights.h5"
LINE = re.compile(r"([0-9a-f]{64})  (.+)")


@contextlib.contextmanager
def replacing_weights(path: Path) -> Iterator[Path]:
    """Yields the path of an empty file to fill, which becomes `path` with its hash; a kill leaves the old one."""
    before = stored_hashes(path) or ()
    digest = ""
    with replacing(path) as temporary:
        yield temporary
        digest = sha256_of(temporary)
        _store(path, digest, *before[:1])
    _store(path, digest)


def write_weights(path: Path, content: bytes | memoryview) -> None:
    """Replaces a weights file by `content`."""
    with replacing_weights(path) as temporary:
        temporary.write_bytes(content)


def remove_weights(path: Path) -> None:
    """Removes a weights file, if it is there, and its hash."""
    path.unlink(missing_ok=True)
    hash_path(path).unlink(missing_ok=True)


def hash_path(path: Path) -> Path:
    """Returns the path of the file that holds the hash of a weights file."""
    return path.with_name(f"{path.name}.sha256")


def sha256_of(path: Path) -> str:
    """Returns the hash of a file, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stored_hashes(path: Path) -> tuple[str, ...] | None:
    """Returns the hashes that a weights file may have according to the file beside it; None if there is no such file.

    A damaged file of hashes allows none.
    """
    try:
        text = hash_path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return ()
    found = [LINE.fullmatch(line) for line in text.splitlines()]
    return tuple(match[1] for match in found if match and match[2] == path.name)


def is_intact(path: Path) -> bool:
    """Returns whether a file that can be made again is there and unchanged; prints a note about a changed one."""
    if not path.is_file():
        return False
    stored = stored_hashes(path)
    if stored is None or sha256_of(path) in stored:
        return True
    print(f"Note: {path} was changed after it was written (its SHA-256 differs): it is made again.", file=sys.stderr)
    return False


def checked_file(path: Path, *, recorded: Mapping[str, str] | None = None) -> Path:
    """Returns the path of a file of a run, after comparing its hash.

    Args:
      path: the file.
      recorded: file name → hash, from metrics.json; without an entry, the hash in the file beside it counts.

    Raises:
      UserError: it is not the file that was written, or cannot be read.
    """
    verified_sha256(path, recorded=recorded)
    return path


def verified_sha256(path: Path, *, recorded: Mapping[str, str] | None = None) -> str:
    """Returns the SHA-256 of a file of a run, in hexadecimal, after comparing it.

    Args:
      path: the file.
      recorded: file name → hash, from metrics.json; without an entry, the hash in the file beside it counts.

    Raises:
      UserError: it is not the file that was written, or cannot be read.
    """
    known = (recorded or {}).get(path.name)
    allowed = (known,) if known else stored_hashes(path)
    try:
        found = sha256_of(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}): make it readable, or {ADVICE}.") from None
    if allowed is None:
        if path.name.endswith(WEIGHTS):  # of an unfinished run, only these have a hash
            finished = (path.parent / METRICS_FILE).is_file()
            adds = adds_hashes(path.parent) if finished else "training the run to its end adds one"
            hashed_json.note_missing_hash(str(path), adds)
    elif found not in allowed:
        raise UserError(f"{path} is not the file that the training wrote (its SHA-256 differs): {ADVICE}.")
    return found


def _store(path: Path, *digests: str) -> None:
    lines = "".join(f"{digest}  {path.name}\n" for digest in dict.fromkeys(digests))
    write_atomically(hash_path(path), lines.encode())
