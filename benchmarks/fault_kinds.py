"""The kinds of faults that benchmarks/faults.py injects. A kind is one row of `FAULTS`.

A fault gets a copy of what it may damage (`benchmarks/fault_world.py`), and changes it where its random numbers say; it
returns what it did, in a few words.
"""

import dataclasses
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from carclf.hashed_json import HASH_KEY
from carclf.lock import LOCK_FILE, STALE_SECONDS, holder_of_this_process

Inject = Callable[[Path, random.Random], str]
WRONG: tuple[Any, ...] = (None, "x", -1.5, True, [], {}, [7], {"x": 7}, 10**30, "../x", "\0")
ZEROS = 512  # bytes


@dataclasses.dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
      parts: the parts of the world that it can happen to: data, run, cache, study, flags.
      inject: does it, in a copy of the part.
      refused: whether the reader must refuse; otherwise it may also give the right answer.
      readers: those that it concerns; empty for all of the part.
      unprivileged: whether it concerns only a process that may not write everywhere, unlike root.
    """

    parts: tuple[str, ...]
    inject: Inject
    refused: bool = False
    readers: tuple[str, ...] = ()
    unprivileged: bool = False


def files_of(folder: Path) -> list[Path]:
    """Returns the files that a fault may damage, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _pick(folder: Path, rng: random.Random) -> Path:
    return rng.choice(files_of(folder))


def _flip(folder: Path, rng: random.Random) -> str:
    path = _pick(folder, rng)
    content = bytearray(path.read_bytes())
    if content:
        place = rng.randrange(len(content))
        content[place] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
    return f"a bit of {path.name}"


def _zero(folder: Path, rng: random.Random) -> str:
    path = _pick(folder, rng)
    content = path.read_bytes()
    start = rng.randrange(max(len(content), 1)) // ZEROS * ZEROS
    path.write_bytes(content[:start] + bytes(len(content[start : start + ZEROS])) + content[start + ZEROS :])
    return f"{ZEROS} zeros in {path.name} at {start}"


def _truncate(folder: Path, rng: random.Random) -> str:
    path = _pick(folder, rng)
    size = rng.randrange(max(path.stat().st_size, 1))
    os.truncate(path, size)
    return f"{path.name} cut off at {size}"


def _append(folder: Path, rng: random.Random) -> str:
    path = _pick(folder, rng)
    path.write_bytes(path.read_bytes() + rng.randbytes(7))
    return f"7 bytes behind {path.name}"


def _remove(folder: Path, rng: random.Random) -> str:
    path = _pick(folder, rng)
    path.unlink()
    return f"no {path.name}"


def _replace_by_folder(folder: Path, rng: random.Random) -> str:
    path = _pick(folder, rng)
    path.unlink()
    path.mkdir()
    return f"a folder in place of {path.name}"


def _exchange(folder: Path, rng: random.Random) -> str:
    files = files_of(folder)
    first, second = rng.sample(files, 2) if len(files) > 1 else (files[0], files[0])
    contents = second.read_bytes(), first.read_bytes()
    for path, content in zip((first, second), contents, strict=True):
        path.write_bytes(content)
    return f"{first.name} and {second.name} exchanged"


def _json_files(folder: Path) -> list[Path]:
    return [path for path in files_of(folder) if path.suffix == ".json"]


def _places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from _places(value, (*path, key))


def _wrong_type(folder: Path, rng: random.Random) -> str:
    """Changes one value, in half of the cases in a file without hash, as older versions wrote it."""
    path = rng.choice(_json_files(folder))
    content = json.loads(path.read_text(encoding="utf-8"))
    if rng.random() < 0.5:
        content.pop(HASH_KEY)
    place = rng.choice(list(_places(content)))
    inner, wrong = content, rng.choice(WRONG)
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = wrong
    path.write_text(json.dumps(content), encoding="utf-8")
    return f"{'.'.join(map(str, place))} of {path.name} is {wrong!r}"


def _exchange_categories(folder: Path, rng: random.Random) -> str:
    path = folder / "dataset.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    first, second = rng.sample(content["classes"], 2)
    for name in ("category", "name"):
        first[name], second[name] = second[name], first[name]
    path.write_text(json.dumps(content), encoding="utf-8")
    return "two categories exchanged"


def _other_weights(folder: Path, rng: random.Random) -> str:
    for path in folder.glob("best.weights.h5*"):
        shutil.copyfile(folder.parent / "other_run" / path.name, path)
    return "the weights of another run"


def _other_classes(folder: Path, rng: random.Random) -> str:
    shutil.copyfile(folder.parent / "other_run" / "stage.json", folder / "stage.json")
    return "stage.json of a run with other classes"


def _stale_lock(folder: Path, rng: random.Random) -> str:
    """Leaves the lock of a process that is gone, of this host or of another one."""
    elsewhere = rng.random() < 0.5
    changes = {"host": "elsewhere"} if elsewhere else {"started": 5.0}
    (folder / LOCK_FILE).write_text(json.dumps(holder_of_this_process() | changes), encoding="utf-8")
    old = time.time() - STALE_SECONDS - 60
    os.utime(folder / LOCK_FILE, (old, old))
    return f"a stale lock of {'another' if elsewhere else 'this'} host"


def _live_lock(folder: Path, rng: random.Random) -> str:
    holder = holder_of_this_process() | {"host": "elsewhere", "pid": rng.randrange(1, 30_000)}
    (folder / LOCK_FILE).write_text(json.dumps(holder), encoding="utf-8")
    return "a live lock of another host"


def _garbled_lock(folder: Path, rng: random.Random) -> str:
    (folder / LOCK_FILE).write_bytes(rng.randbytes(rng.randrange(200)))
    return "a garbled lock"


def _read_only(folder: Path, rng: random.Random) -> str:
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    return "nothing may be written"


def _rewrite_flags(change: Callable[[str, random.Random], bytes], what: str) -> Inject:
    def inject(folder: Path, rng: random.Random) -> str:
        path = _pick(folder, rng)
        path.write_bytes(change(path.read_text(encoding="utf-8"), rng))
        return f"{path.name} {what}"

    return inject


def _without_dashes(text: str, rng: random.Random) -> bytes:
    lines = text.splitlines()
    number = rng.choice([n for n, line in enumerate(lines) if line.startswith("--")])
    lines[number] = lines[number].lstrip("-")
    return "\n".join(lines).encode()


_FLAGS = ("flags",)
_HASHED = ("data", "run")
_FILES = ("data", "run", "cache", "study", "flags")

FAULTS: dict[str, Fault] = {
    "flipped bit": Fault(("data", "run", "cache"), _flip),
    "zeroed block": Fault(("data", "run", "cache", "study"), _zero),
    "truncated": Fault(("data", "run", "cache", "study"), _truncate),
    "bytes appended": Fault(("data", "run", "cache"), _append),
    "missing file": Fault(_FILES, _remove),
    "folder for a file": Fault(_FILES, _replace_by_folder),
    "files exchanged": Fault(("data", "run", "cache"), _exchange),
    "wrong type": Fault(_HASHED, _wrong_type),
    "categories exchanged": Fault(("data",), _exchange_categories, refused=True, readers=("verify", "read")),
    "weights of another run": Fault(("run",), _other_weights, refused=True, readers=("load",)),
    "classes of another run": Fault(("run",), _other_classes, refused=True, readers=("load",)),
    "stale lock": Fault(_HASHED, _stale_lock, readers=("overwrite", "open")),
    "live lock": Fault(_HASHED, _live_lock, refused=True, readers=("overwrite", "open")),
    "garbled lock": Fault(_HASHED, _garbled_lock, readers=("overwrite", "open")),
    "read-only": Fault(_HASHED, _read_only, unprivileged=True, readers=("read", "verify", "overwrite", "open")),
    "byte order mark": Fault(_FLAGS, _rewrite_flags(lambda text, rng: text.encode("utf-8-sig"), "with a mark")),
    "UTF-16": Fault(_FLAGS, _rewrite_flags(lambda text, rng: text.encode("utf-16"), "in UTF-16")),
    "UTF-16 without a mark": Fault(
        _FLAGS, _rewrite_flags(lambda text, rng: text.encode("utf-16-le"), "in UTF-16 without a mark"), refused=True
    ),
    "Latin-1": Fault(
        _FLAGS, _rewrite_flags(lambda text, rng: (text + "# Größe\n").encode("latin-1"), "in Latin-1"), refused=True
    ),
    "binary": Fault(_FLAGS, _rewrite_flags(lambda text, rng: rng.randbytes(200), "of random bytes"), refused=True),
    "no dashes": Fault(_FLAGS, _rewrite_flags(_without_dashes, "with a line without dashes"), refused=True),
}
