"""Damaged files give the right answer or one sentence: a sample of benchmarks/faults.py, and a thousand when slow."""

import importlib
import os
import subprocess
import sys
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
def test_sixty_disturbed_processes_leave_a_whole_data_set_and_exit_with_the_right_code(faults):
    cases = faults.inject_all(60, seed=1, kinds=list(faults.PROCESS_FAULTS))
    assert [str(case) for case in cases if case.failure] == []
    assert {case.kind for case in cases} == {"SIGTERM", "SIGKILL", "parent killed", "closed pipe", "full disk"}


@pytest.mark.slow
def test_a_thousand_damaged_files_give_the_right_answer_or_one_sentence(faults):
    cases = faults.inject_all(1000, seed=2, kinds=list(faults.FAULTS))
    assert [str(case) for case in cases if case.failure] == []


@pytest.mark.slow
def test_predict_and_evaluate_meet_damaged_files(tmp_path):
    command = [sys.executable, "benchmarks/faults.py", "--count=200", "--seed=3", "--commands"]
    answer = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert answer.returncode == 0, answer.stdout


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
