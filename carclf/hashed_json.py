"""JSON that carries the SHA-256 of its own content, so that a change to the file is noticed."""

import functools
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from carclf.files import json_bytes, write_atomically

HASH_KEY = "content_sha256"


def content_sha256(content: Mapping[str, Any]) -> str:
    """Returns the hash of JSON content, 64 hexadecimal digits: independent of spaces and of the order of the keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def to_bytes(content: Mapping[str, Any], *, indent: int = 2, **how: Any) -> bytes:
    """Returns the bytes of a JSON file of the content and its hash.

    Args:
      content: ready for JSON.
      indent: spaces of a level.
      **how: other arguments of `json.dumps`.
    """
    read = json.loads(json.dumps(content, **how))  # with keys and numbers as a reader finds them
    hashed = {**read, HASH_KEY: content_sha256(read)}
    return json_bytes(hashed, indent=indent)


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Writes content with its hash, atomically."""
    write_atomically(path, to_bytes(content))


def parse(content: bytes) -> dict[str, Any]:
    """Returns the JSON object in a file, with its hash, which `take_hash` checks.

    Raises:
      ValueError: it is not UTF-8, not JSON, or not an object.
    """
    try:
        parsed = json.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(parsed, dict):
        raise ValueError("it does not hold a JSON object")
    return parsed


def take_hash(content: dict[str, Any]) -> bool:
    """Removes the hash from content after checking it; returns whether there was one: older files have none.

    Raises:
      ValueError: the content has another hash.
    """
    if HASH_KEY not in content:
        return False
    if content.pop(HASH_KEY) != content_sha256(content):
        raise ValueError("it was changed after it was written: its SHA-256 differs")
    return True


@functools.cache  # one note for each file
def note_missing_hash(path: str, remedy: str) -> None:
    """Prints that a file has no hash, and what adds one."""
    print(
        f"Note: {path} is of an older carclf and has no hash, so damage to it is not noticed: {remedy}.",
        file=sys.stderr,
    )
