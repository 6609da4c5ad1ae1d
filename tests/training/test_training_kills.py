"""Training that is killed anywhere, even repeatedly, ends with the same bits; SIGTERM saves and exits with 75."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from carclf import runs

ROOT = Path(__file__).parents[2]
KILLING = Path(__file__).with_name("killing_training.py")
# 8 steps per epoch; EMA, dropout and mixing each have their own state or draws.
SMALL = {
    "backbone": "tiny", "weights": "none", "image_size": "32", "batch_size": 2, "epochs": 3, "save_every": 3,
    "device": "cpu", "augment": "flip|shift(0.1)|mixup(0.4)", "ema_momentum": 0.9, "train_batch_norm": True,
    "render": "separable",  # traces in a tenth of the time of gathers
}  # fmt: skip
TIMES = ["seconds", "images_per_second", "waiting_fraction"]
KILL, TERM = int(signal.SIGKILL), int(signal.SIGTERM)
Trap = tuple[str, int, int]


def train(
    dataset, folder: Path, runs_with_traps: dict[str, list[Trap]], *, finish: bool = True, **options: object
) -> dict[str, list[int]]:
    """Returns the exit codes of every run's children: one per trap, then one without to `finish`. Writes logs."""
    plan = [
        {
            "options": SMALL | {"data": dataset.directory, "runs": str(folder), "run": name} | options,
            "traps": [*traps, *([None] if finish else [])],
            "log": str(folder / f"{name}.log"),
        }
        for name, traps in runs_with_traps.items()
    ]
    answer = subprocess.run(
        [sys.executable, str(KILLING), json.dumps(plan)], capture_output=True, text=True, cwd=ROOT, timeout=3000,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    return dict(zip(runs_with_traps, json.loads(answer.stdout.strip().splitlines()[-1]), strict=True))


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def assert_same_run(mine: Path, golden: Path) -> None:
    for name in (runs.BEST_WEIGHTS, runs.LAST_WEIGHTS):
        ours, theirs = arrays_of(mine / name), arrays_of(golden / name)
        assert list(ours) == list(theirs)
        assert len(ours) > 20
        for key, values in theirs.items():
            np.testing.assert_array_equal(ours[key], values, err_msg=f"{mine.name}/{name}: {key}")
    histories = [pd.read_csv(run / runs.HISTORY_FILE).drop(columns=TIMES) for run in (mine, golden)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)
    metrics = [json.loads((run / runs.METRICS_FILE).read_text()) for run in (mine, golden)]
    assert all(values.pop("train_seconds") > 0 for values in metrics)
    for values in metrics:  # these two hash the seconds, too
        del values["content_sha256"], values["files_sha256"][runs.HISTORY_FILE]
    assert metrics[0] == metrics[1]


def random_traps(seed: int, *, kills: int) -> list[Trap]:
    """Returns traps of every kind, all within the first steps of a child, so that a run survives many."""
    rng = random.Random(seed)
    # A child saves at least every third step, and renames three or four files per save.
    kinds = {"step": 7, "half written": 3, "before rename": 9, "after rename": 9, "save": 3, "validation": 1}
    return [(kind := rng.choice([*kinds]), rng.randint(1, kinds[kind]), KILL) for _ in range(kills)]


@pytest.fixture(scope="module")
def disturbed(dataset, tmp_path_factory):
    """Returns a folder with an undisturbed run and one that received three SIGTERMs, then was killed three times."""
    folder = tmp_path_factory.mktemp("runs")
    step = random.Random(os.getpid()).randint(1, 7)
    preempted: list[Trap] = [("step", 5, TERM), ("validation", 2, TERM), ("compiling", 1, TERM)]
    killed: list[Trap] = [("step", step, KILL), ("half written", 2, KILL), ("after rename", 5, KILL)]
    codes = train(dataset, folder, {"golden": [], "disturbed": preempted + killed})
    return folder, codes["disturbed"], f"killed first {step} steps after the last SIGTERM"


@pytest.mark.slow
def test_killed_three_times_a_run_ends_as_if_it_had_not_been(disturbed):
    folder, codes, moment = disturbed
    assert codes[3:] == [-KILL, -KILL, -KILL, 0], moment
    assert_same_run(folder / "disturbed", folder / "golden")


@pytest.mark.slow
def test_sigterm_saves_the_step_exits_75_and_says_where(disturbed):
    folder, codes, _ = disturbed
    assert codes[:3] == [75, 75, 75]
    said = (folder / "disturbed.log").read_text().splitlines()
    ends = [line for line in said if line.startswith("Stopped by SIGTERM")]
    steps = [int(line.split(" is saved in ")[0].rsplit(" ", 1)[1]) for line in ends]
    assert steps == [5, 8, 8]  # at the end of a batch; in the validation after step 8; while compiling after that
    assert ends[0] == (
        f"Stopped by SIGTERM: step 5 is saved in {folder / 'disturbed' / 'checkpoints'}, and the same command (without "
        "--overwrite) resumes from it."
    )


@pytest.mark.slow
def test_going_on_is_said(disturbed):
    folder, _, _ = disturbed
    said = (folder / "disturbed.log").read_text()
    assert f"Resuming from step 5 (epoch 1) of {folder / 'disturbed' / 'checkpoints'}." in said
    assert "Epoch 1: validated again, val_accuracy" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ema_momentum": 0.0, "save_every": 1, "patience": 1},
        # Sizes follow each other within the six steps after which most of the children are dead.
        {"image_size": "32-48", "epochs": 6, "size_count": 3, "steps": 3, "first_strength": 0.5, "save_every": 2},
    ],
    ids=["average", "plain", "growing"],
)
def test_killed_at_twenty_random_moments_each_run_ends_as_if_it_had_not_been(dataset, tmp_path, options):
    seed = int(os.environ.get("CARCLF_TEST_SEED", "1"))
    killed = {f"killed-{number}": random_traps(seed + number, kills=6) for number in range(4)}
    codes = train(dataset, tmp_path, {"golden": [], **killed}, **options)
    assert all(code in (-KILL, 0) for name in killed for code in codes[name])
    assert sum(code == -KILL for name in killed for code in codes[name]) >= 20
    for name in killed:
        assert codes[name][-1] == 0
        assert_same_run(tmp_path / name, tmp_path / "golden")


@pytest.mark.slow
def test_preempted_at_thirty_two_random_moments_each_run_exits_75_and_ends_as_if_it_had_not_been(dataset, tmp_path):
    rng = random.Random(int(os.environ.get("CARCLF_TEST_SEED", "1")))
    undisturbed = time.monotonic()
    train(dataset, tmp_path, {"golden": []})
    undisturbed = time.monotonic() - undisturbed

    def moment(number: int) -> Trap:  # the first of a run anywhere, later ones among the fewer steps that are left
        return ("milliseconds", rng.randint(0, int(1000 * undisturbed * 0.5 ** (number + 1))), TERM)

    preempted = {f"preempted-{run}": [moment(number) for number in range(4)] for run in range(8)}
    codes = train(dataset, tmp_path, {**preempted})
    ended = [code for name in preempted for code in codes[name]]
    assert set(ended) == {75, 0}
    assert ended.count(75) >= 24, ended  # the others had finished before they were told
    for name in preempted:
        assert_same_run(tmp_path / name, tmp_path / "golden")


@pytest.mark.slow
def test_sigterm_while_saving_or_while_resuming(dataset, tmp_path):
    preempted: list[Trap] = [
        ("save", 2, TERM),
        ("half written", 1, TERM),
        ("before rename", 1, TERM),
        ("step", 1, TERM),
    ]
    codes = train(dataset, tmp_path, {"golden": [], "preempted": preempted})
    assert codes["preempted"] == [75, 75, 75, 75, 0]
    assert_same_run(tmp_path / "preempted", tmp_path / "golden")


@pytest.mark.slow
def test_a_lost_session_is_gone_on_with_from_a_copy_that_is_only_read(dataset, tmp_path):
    train(dataset, tmp_path, {"golden": []})
    (tmp_path / "lost").mkdir()
    assert train(dataset, tmp_path / "lost", {"run": [("step", 11, KILL)]}, finish=False) == {"run": [-KILL]}
    lost = tmp_path / "lost" / "run"
    for path in (lost, *lost.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in lost.rglob("*")}
    preempted: list[Trap] = [("step", 4, TERM)]  # the same command then resumes from its own checkpoint
    assert train(dataset, tmp_path, {"found": preempted}, resume_from=str(lost)) == {"found": [75, 0]}
    assert_same_run(tmp_path / "found", tmp_path / "golden")
    assert {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in lost.rglob("*")} == before
    for path in (lost, lost / "checkpoints"):
        path.chmod(0o755)


@pytest.mark.slow
def test_two_replicas_save_and_go_on(dataset, tmp_path):
    killed: list[Trap] = [("step", 5, KILL), ("validation", 2, KILL), ("step", 2, TERM)]
    codes = train(dataset, tmp_path, {"golden": [], "killed": killed}, cpu_devices=2, batch_size=4)
    assert codes["killed"] == [-KILL, -KILL, 75, 0]
    assert "Device: 2 CPUs" in (tmp_path / "killed.log").read_text()
    ours, theirs = (arrays_of(tmp_path / name / runs.LAST_WEIGHTS) for name in ("killed", "golden"))
    for key, values in theirs.items():  # each replica has its own dropout; one state is kept
        np.testing.assert_allclose(ours[key], values, atol=0.02, err_msg=key)


@pytest.mark.slow
def test_a_schedule_stopped_by_sigterm_is_gone_on_with_by_the_same_command(dataset, tmp_path):
    command = [
        sys.executable, "-m", "carclf.train", "--stages=demo_1,demo_2", f"--data={dataset.directory}", "--epochs=2",
        f"--runs={tmp_path}", "--image_size=32", "--batch_size=2", "--device=cpu", "--save_every=2",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}

    def run(until: str, *, number: int = TERM, seconds: float = 0.0) -> tuple[int, str]:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=tmp_path
        ) as process:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:  # until the stage has closed it as well
                said += line
                if until and until in line:
                    threading.Timer(seconds, process.send_signal, (number,)).start()
        return process.returncode, said

    code, said = run("Epoch 2/2")
    assert code == 75, said
    assert "Stopped by SIGTERM: step " in said
    assert "The stage demo_1 ended with exit code 75: the stages after it were not started." in said
    code, said = run("Stage 2 of 2")
    assert code == 75, said
    assert "Resuming from step " in said
    code, said = run("Epoch 1/2", number=KILL)
    assert code == -KILL, said
    assert "Stopped by the end of the process that started it: step " in said
    rng = random.Random(int(os.environ.get("CARCLF_TEST_SEED", "1")))
    for _ in range(8):  # while it starts, resumes, compiles or trains
        code, said = run("Stage 2 of 2", seconds=rng.uniform(0, 12))
        assert code == 75, said
    code, said = run("")
    assert code == 0, said
    assert "demo_1 is finished" in said
    assert (tmp_path / "demo_2" / runs.METRICS_FILE).is_file()
