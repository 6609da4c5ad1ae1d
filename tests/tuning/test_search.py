"""Trials of a study in one process and in several; pruned, failed and killed trials."""

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
import sqlalchemy

from carclf import preemption
from carclf.errors import Preempted, UserError
from carclf.tuning import storage
from carclf.tuning.search import Tally, rounded, run_trials
from carclf.tuning.storage import read_url, shown_url, sqlite_url
from carclf.tuning.trial import TrialFailedError, TrialPrunedError
from tests.damage import refusal
from tests.tuning.formula import SPACE, formula, opened

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/study.db"


def begin(url: str, trials: int, kind: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.tuning.working", url, str(trials), kind]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)


def begin_after(victim: subprocess.Popen[str], url: str, trials: int, kind: str) -> subprocess.Popen[str]:
    said = [victim.stdout.readline() for _ in range(2)]
    if not (said[0].startswith("Trial 0: learning_rate=") and said[1] == "started\n"):
        victim.kill()  # or leaving the caller's block waits for it
        raise AssertionError(said)
    return begin(url, trials, kind)


def test_the_best_of_all_trials_is_found_and_the_same_seed_finds_it_again(tmp_path):
    studies = []
    for name in ("one", "two"):
        study = opened(f"sqlite:///{tmp_path}/{name}.db")
        best = []
        tally = run_trials(
            study,
            formula,
            space=SPACE,
            trials=6,
            seed=5,
            epochs=3,
            on_result=lambda s, best=best: best.append(s.best_value),
        )
        assert str(tally) == "6 trials: 6 completed, 0 pruned, 0 failed"
        assert len(best) == 7
        assert best == sorted(best)
        studies.append(study)
    one, two = ([trial.params for trial in study.get_trials()] for study in studies)
    assert one == two
    assert studies[0].best_value == max(formula(0, rounded(params), None) for params in one) > 0.9
    assert len({params["learning_rate"] for params in one}) == 6


def test_a_metric_that_is_better_when_lower_is_minimised(url, capsys):
    study = opened(url, higher=False)
    run_trials(
        study, lambda number, values, report: 1.0 + number, space=SPACE, trials=3, seed=5, epochs=3, metric="log_loss"
    )
    assert (study.best_trial.number, study.best_value) == (0, 1.0)
    assert "Trial 2: val_log_loss 3.0000" in capsys.readouterr().out


def test_a_finished_study_resumes_only_for_more_trials(url):
    run_trials(opened(url), formula, space=SPACE, trials=2, seed=5, epochs=3)
    assert run_trials(opened(url), formula, space=SPACE, trials=2, seed=5, epochs=3).settled == 2
    assert run_trials(opened(url), formula, space=SPACE, trials=3, seed=5, epochs=3).settled == 3


def test_a_trial_that_reports_less_than_the_others_is_pruned(url):
    study, epochs = opened(url, pruner="median"), []

    def objective(number, values, report):
        for epoch in (1, 2, 3):
            epochs.append((number, epoch))
            if report(epoch, 0.5 if number < 5 else 0.1):
                raise TrialPrunedError
        return 0.5

    tally = run_trials(study, objective, space=SPACE, trials=6, seed=5, epochs=3)
    assert (tally.completed, tally.pruned) == (5, 1)
    assert [epoch for number, epoch in epochs if number == 5] == [1, 2]  # the first epoch never prunes
    assert study.get_trials()[5].intermediate_values == {1: 0.1, 2: 0.1}


def test_hyperband_is_an_option(url):
    assert type(opened(url, pruner="hyperband").pruner).__name__ == "HyperbandPruner"


def test_a_failed_trial_is_counted_with_its_reason_and_the_search_continues(url, capsys):
    def objective(number, values, report):
        if number == 1:
            raise TrialFailedError("The device ran out of memory")
        return formula(number, values, report)

    study = opened(url)
    tally = run_trials(study, objective, space=SPACE, trials=3, seed=5, epochs=3)
    assert (tally.completed, tally.failed) == (2, 1)
    assert study.get_trials()[1].user_attrs["reason"] == "The device ran out of memory"
    assert "Trial 1 failed: The device ran out of memory" in capsys.readouterr().err


def test_when_every_trial_fails_the_search_ends_with_the_reason(url):
    begun = []

    def objective(number, values, report):
        begun.append(number)
        raise TrialFailedError("there is no backbone huge")

    with pytest.raises(UserError, match="The first 3 trials all failed, the last one with: there is no backbone huge"):
        run_trials(opened(url), objective, space=SPACE, trials=20, seed=5, epochs=3)
    assert begun == [0, 1, 2]


def test_a_stopped_trial_is_restarted_with_its_values(url):
    seen = []

    def objective(number, values, report):
        seen.append(values)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return formula(number, values, report)

    with pytest.raises(KeyboardInterrupt):
        run_trials(opened(url), objective, space=SPACE, trials=3, seed=5, epochs=3)
    tally = run_trials(opened(url), objective, space=SPACE, trials=3, seed=5, epochs=3)
    assert seen[2] == seen[1]
    assert (tally.settled, tally.completed) == (3, 3)


def test_two_processes_share_a_study_and_the_trial_of_a_killed_one_is_restarted(url):
    study = opened(url)
    with begin(url, 3, "endless") as victim, begin_after(victim, url, 3, "formula") as helper:
        try:
            lines = [helper.stdout.readline() for _ in range(5)]  # of the two remaining trials
            assert lines[4] == "Waiting for 1 trials of other processes.\n"
        finally:  # leaving the block waits for both processes
            victim.send_signal(signal.SIGKILL)
        rest, _ = helper.communicate(timeout=120)
    assert rest.endswith("3 trials: 3 completed, 0 pruned, 0 failed\n")
    trials = study.get_trials()
    assert [trial.state.name for trial in trials] == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert trials[3].params == trials[0].params
    assert Tally.of(study) == Tally(completed=3, pruned=0, failed=0, running=0)


def test_a_trial_whose_process_was_killed_before_its_first_heartbeat_is_restarted(url):
    study = opened(url)
    with pytest.warns(UserWarning, match="Heartbeat"):  # there is none, as intended
        study.ask()
    assert run_trials(study, formula, space=SPACE, trials=1, seed=5, epochs=3) == Tally(
        completed=1, pruned=0, failed=0, running=0
    )
    assert [trial.state.name for trial in study.get_trials()] == ["FAIL", "COMPLETE"]


def test_another_data_set_or_space_is_refused(url):
    opened(url, identity={"data": "d", "space": ["l2 log 1 2"], "epochs": 3})
    opened(url, identity={"data": "d", "space": ["l2 log 1 2"], "epochs": 3})
    with pytest.raises(UserError, match=r"with other settings \(data: d, not e, epochs: 3, not 4\).*another --study"):
        opened(url, identity={"data": "e", "space": ["l2 log 1 2"], "epochs": 4})


@pytest.mark.parametrize(
    ("storage", "reason"),
    [
        ("sqlite:////nowhere/at/all.db", "unable to open database file"),
        ("cars.db", "Could not parse SQLAlchemy URL"),
        ("orakel://somewhere/cars", "Can't load plugin"),
        ("postgresql://host:first/cars", "invalid literal for int"),
    ],
)
def test_the_error_for_an_unusable_storage_is_one_sentence(storage, reason):
    with pytest.raises(UserError, match=f"The storage {storage} cannot be used .*{reason}") as caught:
        opened(storage)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("password", ["secret", "s:cret", "s@cret", "s/cret", "s?cr=et", "s%40cret", "s://cret"])
@pytest.mark.parametrize("scheme", ["postgresql://", "postgresql:/", ""])
def test_a_password_is_never_printed(scheme, password):
    shown = shown_url(f"{scheme}ann:{password}@host/cars")
    assert shown.endswith("***@host/cars")
    assert "cret" not in shown


@pytest.mark.parametrize("decodes", [True, False], ids=["SQLAlchemy 2.1", "2.0"])
@pytest.mark.parametrize("name", ["plain.db", "a b.db", "what?.db", "50 %.db", "a%20b.db", "{x}.db", "c#d@e:f.db"])
def test_a_study_is_a_file_of_any_name_with_any_sqlalchemy(tmp_path, monkeypatch, name, decodes):
    """Until SQLAlchemy 2.0 the path in a URL stays encoded."""
    if not decodes:
        monkeypatch.setattr(storage, "_parsed", parsed_as_by_2_0)
    url = read_url(sqlite_url(str(tmp_path / name)))
    assert storage._sqlite_path(url) == str(tmp_path / name)
    if decodes:
        opened(sqlite_url(str(tmp_path / name)))
        assert [path.name for path in tmp_path.iterdir()] == [name]
    elif "?" in name:
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"), uri=True)) as connection:
            connection.execute("CREATE TABLE t (x)")
        assert [path.name for path in tmp_path.iterdir()] == [name]


def parsed_as_by_2_0(url: str) -> sqlalchemy.URL:
    path, _, query = url.removeprefix("sqlite:///").partition("?")
    return sqlalchemy.URL.create("sqlite", database=path, query={"uri": "true"} if query else {})


def test_hyperband_prunes_no_trial_at_its_last_epoch(url):
    study, pruned = opened(url, pruner="hyperband"), []

    def objective(number, values, report):
        for epoch in (1, 2, 3):
            # Better than all before it, until the last epoch turns out worse than in any of them.
            if report(epoch, 0.5 + 0.01 * number if epoch < 3 else 0.1 - 0.01 * number):
                pruned.append(epoch)
                raise TrialPrunedError
        return 0.5

    run_trials(study, objective, space=SPACE, trials=8, seed=5, epochs=3)
    assert pruned == []


def test_a_search_that_is_told_to_stop_restarts_its_trial_later(url):
    seen = []

    def objective(number, values, report):
        seen.append(values)
        if len(seen) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            preemption.check()
        return formula(number, values, report)

    with preemption.watching(lambda: "x"), pytest.raises(Preempted):
        run_trials(opened(url), objective, space=SPACE, trials=3, seed=5, epochs=3)
    tally = run_trials(opened(url), objective, space=SPACE, trials=3, seed=5, epochs=3)
    assert seen[2] == seen[1]
    assert tally == Tally(completed=3, pruned=0, failed=0, running=0)
    assert len(seen) == 4


@pytest.mark.parametrize("moment", ["reporting", "ended"])
def test_a_process_that_comes_back_after_its_trial_was_restarted_makes_none_too_many(url, moment, capsys):
    """Another process restarts the trial and runs all others while this one is stopped."""
    away, begun = opened(url), []

    def objective(number, values, report):
        begun.append(number)
        if len(begun) == 1:
            take_over(url)
            if moment == "reporting":
                report(1, 0.5)
        return 0.5

    tally = run_trials(away, objective, space=SPACE, trials=3, seed=5, epochs=3)
    assert begun == [0]
    assert tally == Tally(completed=3, pruned=0, failed=0, running=0)
    assert "Trial 0: this process was away for so long that another one has restarted it." in capsys.readouterr().err
    assert [trial.state.name for trial in opened(url).get_trials()] == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]


def take_over(url: str) -> None:
    """Does what another process does when the one that runs the trial 0 has missed its heartbeats."""
    other = opened(url)
    frozen = other.get_trials()[0]
    other._storage.set_trial_state_values(frozen._trial_id, optuna.trial.TrialState.FAIL)
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=3)(other, frozen)
    run_trials(other, formula, space=SPACE, trials=3, seed=5, epochs=3)


def test_two_processes_that_begin_the_last_trial_at_once_keep_one(url):
    study, other, begun = opened(url), opened(url), []
    ask = study.ask

    def objective(number, values, report):
        begun.append(number)
        return 0.5

    def ask_too_late(*arguments, **keywords):  # after the tally, and before the trial
        if len(begun) == 1:
            run_trials(other, formula, space=SPACE, trials=2, seed=5, epochs=3)
        return ask(*arguments, **keywords)

    study.ask = ask_too_late
    tally = run_trials(study, objective, space=SPACE, trials=2, seed=5, epochs=3)
    assert begun == [0]
    assert tally == Tally(completed=2, pruned=0, failed=0, running=0)


def test_a_full_disk_ends_the_search_and_fails_no_trial(url):
    def objective(number, values, report):
        raise UserError("The search stops: a file could not be written (No space left on device).")

    with pytest.raises(UserError, match="No space left"):
        run_trials(opened(url), objective, space=SPACE, trials=2, seed=5, epochs=3)
    assert run_trials(opened(url), formula, space=SPACE, trials=2, seed=5, epochs=3) == Tally(2, 0, 0, 0)


def test_a_damaged_page_or_value_of_a_study_is_one_sentence(tmp_path):
    """Zeroes each page of a study's file in turn, and changes texts that Optuna parses."""
    path = tmp_path / "study.db"
    study = opened(f"sqlite:///{path}")
    run_trials(study, formula, space=SPACE, trials=2, seed=5, epochs=3)
    del study
    whole = path.read_bytes()
    sentence = rf"^The storage sqlite:///{path} (is damaged|cannot be used) \([^\n]+\): (restore a copy|give an SQLAl)"
    changes = [
        whole.replace(b"COMPLETE", b"COMPLETF"),
        whole.replace(b'"FloatDistribution"', b'"GloatDistribution"'),
        b"x",
    ]
    for start in range(0, len(whole), 4096):
        changes.append(whole[:start] + bytes(4096) + whole[start + 4096 :])
    refused = 0
    for changed in changes:
        path.write_bytes(changed)
        said = refusal(lambda: opened(f"sqlite:///{path}"))
        assert not said or re.search(sentence, said), said
        refused += bool(said)
    assert refused > 5
    path.write_bytes(whole)
    assert len(opened(f"sqlite:///{path}").trials) == 2
