"""Run by test_kills.py: converts in forked children that are killed; reports what each kill leaves behind."""

import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from carclf.convert.converter import convert
from carclf.convert.options import ConvertOptions
from carclf.data.manifest import load_manifest

KINDS = ("before", "after")


def tree(folder: Path) -> dict[str, str]:
    """Returns file → SHA-256 of everything under a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def start(options: dict, *, die_at: tuple[int, str] | None = None) -> int:
    """Starts a child that converts, and kills itself just before or after the rename `die_at`; returns its ID."""
    child = os.fork()
    if child:
        return child
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    if die_at:
        die_beside_a_rename(*die_at)
    try:
        convert(ConvertOptions(**options))
    except BaseException:
        os._exit(1)
    os._exit(0)


def die_beside_a_rename(number: int, kind: str) -> None:
    rename, calls = os.replace, iter(range(1, 10**6))

    def dying(*arguments):
        mine = next(calls) == number
        if mine and kind == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        rename(*arguments)
        if mine:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = dying


def ended(child: int) -> int:
    """Waits for a child; returns 0, or −9 if it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def readable(output: Path) -> bool:
    """Returns whether there is a data set; raises if it is incomplete."""
    if not (output / "dataset.json").exists():
        return False
    manifest = load_manifest(str(output))
    for entry in manifest.ids.values():
        manifest.read_list(entry)
    return True


def kill_beside_renames(options: dict, golden: dict[str, str]) -> list[tuple[str, bool]]:
    """Kills before and after every rename; returns each moment, and whether a rerun then gave the same bytes."""
    results, number = [], 0
    while True:
        number += 1
        for kind in KINDS:
            output = Path(f"{options['output']}-{number}-{kind}")
            mine = options | {"output": str(output)}
            if ended(start(mine, die_at=(number, kind))) == 0:  # there are fewer renames than that
                return results
            readable(output)
            finished = ended(start(mine)) == 0
            results.append((f"{kind} rename {number}", finished and tree(output) == golden))


def kill_at_random(options: dict, golden: dict[str, str], *, kills: int, seconds: float) -> list[tuple[str, bool]]:
    """Kills at random moments; each run resumes from what the last one left."""
    rng, results, attempt = random.Random(1), [], 0
    while len(results) < kills:
        attempt += 1
        output = Path(f"{options['output']}-random-{attempt}")
        mine = options | {"output": str(output)}
        while len(results) < kills:
            child = start(mine)
            delay = rng.uniform(0, 1.1 * seconds)
            time.sleep(delay)
            os.kill(child, signal.SIGKILL)
            if ended(child) == 0:
                break
            readable(output)
            results.append((f"after {delay:.3f} s of attempt {attempt}", True))
        finished = ended(start(mine)) == 0
        results.append((f"the rerun of attempt {attempt}", finished and tree(output) == golden))
    return results


def main() -> None:
    options, mode, kills = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    undisturbed = options | {"output": f"{options['output']}-golden"}
    started = time.perf_counter()
    assert ended(start(undisturbed)) == 0
    seconds = time.perf_counter() - started
    golden = tree(Path(undisturbed["output"]))
    if mode == "renames":
        results = kill_beside_renames(options, golden)
    else:
        results = kill_at_random(options, golden, kills=kills, seconds=seconds)
    print(json.dumps(results))


main()
