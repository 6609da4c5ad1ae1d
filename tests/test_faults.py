"""Damaged files give the right answer or one sentence: a sample of benchmarks/faults.py, and a thousand when slow."""

import importlib
import os
import random
import subprocess
import sys
import typing
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def faults():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module("faults")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


def test_sixty_damaged_files_give_the_right_answer_or_one_sentence(faults):
    cases = faults.inject_all(63, seed=1, kinds=list(faults.FAULTS))
    assert [str(case) for case in cases if case.failure] == []
    assert {case.kind for case in cases} == set(faults.FAULTS)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("--count=1000",), ("--count=200", "--seed=3", "--commands")], ids=" ".join)
def test_no_fault_of_the_benchmark_is_a_failure(arguments):
    command = [sys.executable, "benchmarks/faults.py", *arguments]
    answer = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert answer.returncode == 0, answer.stdout


def test_processes_are_disturbed_in_every_command(faults):
    assert {*faults.ALL} == {*faults.FAULTS, *faults.PROCESS_FAULTS}
    chosen = {
        (kind, faults.choose_work(fault, random.Random(number)))
        for kind, fault in faults.PROCESS_FAULTS.items()
        for number in range(400)
    }
    wanted = {(kind, name) for kind in faults.PROCESS_FAULTS for name in faults.WORKS if kind != "parent killed"}
    assert chosen == wanted | {("parent killed", "make_tfrecords"), ("parent killed", "train")}


class Ended:
    """A command that has ended; in place of one that runs."""

    outcomes: typing.ClassVar[list[tuple[int, str, str]]] = []  # exit code, what it says, what it leaves in x.csv

    def __init__(self, arguments, **how):
        self.code, self.said, left = self.outcomes.pop(0)
        (self.folder / "x.csv").write_text(left)

    def end(self):
        return self.code, self.said


@pytest.mark.parametrize(
    ("first", "again", "failure"),
    [
        ((2, "", "old"), (0, "", "new"), ""),
        ((1, "", "old"), (0, "", "new"), "exit code 1"),
        ((2, "Traceback", "old"), (0, "", "new"), "Traceback"),
        ((0, "", "old"), (0, "", "new"), "exit code 0 without its output"),
        ((2, "", "half"), (0, "", "new"), "x.csv is neither the old file nor the new one"),
        ((2, "", "old"), (2, "", "old"), "the same command ends with 2"),
        ((2, "", "old"), (0, "", "other"), "the same command makes something else"),
    ],
    ids=str,
)
def test_a_disturbed_command_is_judged(faults, monkeypatch, tmp_path, first, again, failure):
    processes = importlib.import_module("fault_processes")
    monkeypatch.setattr(processes, "Running", Ended)
    monkeypatch.setattr(Ended, "folder", tmp_path / "work", raising=False)
    monkeypatch.setattr(Ended, "outcomes", [(0, "", "new"), first, again])
    work, fault = faults.WORKS["predict"], faults.PROCESS_FAULTS["full disk"]
    whole = processes.undisturbed(work, world=tmp_path / "world")
    _, found = processes.disturb(fault, work, random.Random(1), world=tmp_path / "world", whole=whole)
    assert found.startswith(failure)
    assert bool(found) == bool(failure)


@pytest.mark.parametrize(
    ("found", "failure"),
    [
        (("answer", "1"), ""),
        (("answer", "2"), "another answer: 2"),
        (("refused", "The file x is damaged: copy it again."), ""),
        (("refused", "One.\nTwo."), "not one sentence"),
        (("refused", "damaged"), "not one sentence"),
        (("failed", "TypeError: x"), "TypeError: x"),
    ],
    ids=str,
)
def test_the_judge_tells_answers_sentences_and_failures(faults, found, failure):
    said = faults.judge(found, ("answer", "1"), fault=faults.FAULTS["flipped bit"])
    assert said.startswith(failure)
    assert bool(said) == bool(failure)


def test_a_fault_that_must_be_noticed_is_a_failure_if_it_is_not(faults):
    fault = faults.FAULTS["categories exchanged"]
    assert faults.judge(("answer", "1"), ("answer", "1"), fault=fault) == "it was not noticed"


def test_the_table_has_a_line_a_kind(faults):
    cases = [
        faults.Case("truncated", "run", "load", "x", ""),
        faults.Case("truncated", "run", "load", "x", "TypeError"),
    ]
    assert faults.table(cases).splitlines()[1].split() == ["truncated", "2", "1"]
    assert faults.table(cases).splitlines()[-1].split() == ["in", "all", "2", "1"]
