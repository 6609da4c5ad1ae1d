"""The sample command: what it prints, and what it refuses."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from carclf.errors import UserError
from carclf.sample import SampleOptions, main

ROOT = Path(__file__).parent.parent


def command(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "carclf.sample", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, **options)


def test_it_draws_once_and_then_has_nothing_to_do(tmp_path, capsys):
    options = SampleOptions(output=str(tmp_path / "set"), photos=20, width=48, height=32)
    main(options)
    assert "20 training and 5 test photos" in capsys.readouterr().out
    main(options)
    assert "nothing to do" in capsys.readouterr().out
    made = json.loads((tmp_path / "set" / "sample.json").read_text())
    assert made == {"format": 1, "photos": 20, "seed": 42, "width": 48, "height": 32, "zip": False}
    with pytest.raises(UserError, match="other options"):
        main(SampleOptions(output=str(tmp_path / "set"), photos=20, width=48, height=32, seed=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": ""}, "--output is missing"),
        ({"photos": 9}, "--photos=9 is not possible"),
        ({"photos": 700_001}, "--photos=700001 is not possible"),
        ({"seed": -1}, "--seed=-1 is not possible"),
        ({"width": 31}, "--width=31 is not possible"),
        ({"height": 5000}, "--height=5000 is not possible"),
        ({"workers": -1}, "--workers=-1 is not possible"),
    ],
    ids=str,
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        SampleOptions(**{"output": "set", **options})


def test_a_mistake_is_one_sentence_and_exit_code_2(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    answer = command(f"--output={tmp_path}", "--photos=20")
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1
    assert "is not empty and has no sample" in answer.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_unwritable_place_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    answer = command(f"--output={tmp_path / 'file' / 'set'}", "--photos=20")
    assert answer.returncode == 2
    assert "could not be written" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_killed_run_leaves_no_folder_of_that_name(tmp_path):
    command = [sys.executable, "-m", "carclf.sample", f"--output={tmp_path / 'set'}", "--photos=5000", "--workers=2"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("set.partial-*/train/0/*.jpg")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(120)
    assert not (tmp_path / "set").exists()


def test_the_control_reads_a_sample_and_stays_below_a_network(tmp_path):
    main(SampleOptions(output=str(tmp_path / "set"), photos=400, width=160, height=120, workers=1))
    place = ROOT / "benchmarks" / "sample_control.py"
    spec = importlib.util.spec_from_file_location("sample_control", place)
    assert spec is not None
    assert spec.loader is not None
    control = importlib.util.module_from_spec(spec)
    sys.modules["sample_control"] = control
    spec.loader.exec_module(control)
    figures = control.measure_control(tmp_path / "set")
    assert figures["test_photos"] == 100
    assert figures["control_accuracy"] <= 0.5
    with pytest.raises(UserError, match=r"nowhere/train\.csv cannot be read"):
        control.measure_control(Path("nowhere"))
