"""Damages data sets, runs, caches, studies and flag files, and disturbs commands at work, at random, and judges them.

A reader must give the answer of the undamaged files, or refuse in one sentence and change nothing.
Example: python benchmarks/faults.py --count=1000 --seed=1"""

import collections
import dataclasses
import json
import os
import random
import re
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fault_kinds import FAULTS, Fault
from fault_processes import PROCESS_FAULTS, choose_work, disturb, undisturbed
from fault_works import WORKS
from fault_world import READERS, build_world, digests, fresh_copy, silently

from carclf.command import run_command
from carclf.device import select_device
from carclf.errors import sentence_in
from carclf.flags import Options, option
from carclf.progress import Progress

NOBODY = 65534
ALL = [*FAULTS, *FAULTS, *PROCESS_FAULTS]  # processes take seconds
SENTENCE = re.compile(r"[^\n]+(\.|\?| --\w+=\S+)")  # the last word may be that of a command


@dataclasses.dataclass(frozen=True)
class FaultOptions(Options):
    """Every option of this benchmark."""

    count: int = option(100, "Number of faults.", low=1)
    seed: int = option(0, "Seed of the faults.", low=0)
    commands: bool = option(
        False, "Let predict and evaluate, which take seconds, meet the faults of data sets and runs."
    )
    kind: str = option("", "Inject only this kind.", choices=("", *FAULTS, *PROCESS_FAULTS))


@dataclasses.dataclass(frozen=True)
class Case:
    """One fault: its kind, the part that has it, the reader that meets it, what was done, and the failure or ''."""

    kind: str
    part: str
    reader: str
    done: str
    failure: str

    def __str__(self) -> str:
        return f"{self.kind}, {self.part}, {self.reader}: {self.done}: {self.failure}"


def main(options: FaultOptions) -> int:
    """Injects the faults and prints a table of the kinds; returns 1 if a reader failed."""
    if options.commands:
        select_device("cpu", precision="float32")  # as predict does, but before anything else starts the framework
    kinds = [options.kind] if options.kind else ALL
    cases = inject_all(options.count, seed=options.seed, kinds=kinds, commands=options.commands)
    print(table(cases))
    failures = [case for case in cases if case.failure]
    print(*failures, sep="\n")
    return 1 if failures else 0


def inject_all(count: int, *, seed: int, kinds: list[str], commands: bool = False) -> list[Case]:
    """Returns the outcome of `count` faults, of the kinds in turn."""
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        world, scratch = Path(folder) / "world", Path(folder) / "scratch"
        Path(folder).chmod(0o755)  # so that a process without rights can enter it
        silently(lambda part, world: build_world(part), world, world)
        answers: dict[tuple[str, str], Any] = {}
        with Progress("Injecting faults", total=count, unit="faults") as progress:
            for number in range(count):
                cases.append(
                    inject_one(
                        kinds[number % len(kinds)],
                        random.Random(f"{seed}-{number}"),
                        world,
                        scratch,
                        answers,
                        commands=commands,
                    )
                )
                progress.add(1)
    return cases


def inject_one(
    kind: str,
    rng: random.Random,
    world: Path,
    scratch: Path,
    answers: dict[tuple[str, str], Any],
    *,
    commands: bool = False,
) -> Case:
    """Injects one fault into a copy of a part, lets one reader meet it, and judges."""
    if kind in PROCESS_FAULTS:
        met = PROCESS_FAULTS[kind]
        name = choose_work(met, rng)
        if ("process", name) not in answers:
            answers["process", name] = undisturbed(WORKS[name], world=world)
        done, failure = disturb(met, WORKS[name], rng, world=world, whole=answers["process", name])
        return Case(kind, "process", name, done, failure)
    fault = FAULTS[kind]
    part = rng.choice(fault.parts)
    names = [name for name in READERS[part] if not fault.readers or name in fault.readers]
    names = [name for name in names if commands or not READERS[part][name].takes_seconds]
    name = rng.choice(names)
    reader = READERS[part][name]
    if (part, name) not in answers:
        answers[part, name] = outcome(lambda: silently(reader.read, fresh_copy(world, part, scratch), world))
    copy = fresh_copy(world, part, scratch)
    done = fault.inject(copy, rng)
    before = digests(copy)
    meet = in_child if fault.unprivileged else outcome
    found = meet(lambda: silently(reader.read, copy, world))
    if fault.unprivileged:
        for path in [copy, *copy.rglob("*")]:
            path.chmod(0o755)
    failure = judge(found, answers[part, name], fault=fault)
    if not failure and digests(copy) != before and not (reader.writes and found[0] == "answer"):
        failure = "files were changed"
    return Case(kind, part, name, done, failure)


def outcome(read: Callable[[], Any]) -> tuple[str, str]:
    """Returns what came of reading: 'answer' and its text, 'refused' and the sentence, or 'failed' and the error."""
    try:
        return "answer", repr(read())
    except Exception as error:
        sentence = sentence_in(error)
        if sentence is not None:
            return "refused", sentence
        return "failed", "".join(traceback.format_exception(error)[-2:])


def judge(found: tuple[str, str], whole: tuple[str, str], *, fault: Fault) -> str:
    """Returns what is wrong with the outcome of a damaged part; '' if nothing is."""
    kind, text = found
    if kind == "failed":
        return text
    if kind == "answer":
        if fault.refused:
            return "it was not noticed"
        return "" if found == whole else f"another answer: {text[:200]}"
    if not SENTENCE.fullmatch(text):
        return f"not one sentence: {text!r}"
    return ""


def in_child(read: Callable[[], Any]) -> tuple[str, str]:
    """Returns the outcome in a forked process without the rights of root."""
    inlet, outlet = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            os.write(outlet, json.dumps(outcome(read)).encode())
        finally:
            os._exit(0)
    os.close(outlet)
    with open(inlet, "rb") as pipe:
        content = pipe.read()
    os.waitpid(child, 0)
    kind, text = json.loads(content) if content else ("failed", "the process died")
    return kind, text


def table(cases: list[Case]) -> str:
    """Returns one line a kind: how many were injected, and how many a reader failed."""
    counts = collections.Counter(case.kind for case in cases)
    failures = collections.Counter(case.kind for case in cases if case.failure)
    lines = [f"{'kind':<26}{'count':>7}{'failures':>10}"]
    lines += [f"{kind:<26}{count:>7,}{failures[kind]:>10,}" for kind, count in counts.items()]
    return "\n".join([*lines, f"{'in all':<26}{len(cases):>7,}{sum(failures.values()):>10,}"])


if __name__ == "__main__":
    run_command(main, FaultOptions, description=__doc__ or "")
