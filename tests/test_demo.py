"""The demo: its scoring, its exit code, the commands it runs and, as a slow test, all of it on few photos."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "benchmarks" / "demo.py"


@pytest.fixture(scope="module")
def demo():
    spec = importlib.util.spec_from_file_location("demo", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["demo"] = module  # dataclasses look up their module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["demo"]


def write_labels(path: Path, labels: dict[str, int]) -> Path:
    path.write_text("Id,Category\n" + "".join(f"{photo},{label}\n" for photo, label in labels.items()))
    return path


def test_the_score_goes_by_id_not_by_order(demo, tmp_path):
    solution = write_labels(tmp_path / "solution.csv", {"1.jpg": 3, "2.jpg": 4, "3.jpg": 5, "4.jpg": 6})
    submission = write_labels(tmp_path / "submission.csv", {"4.jpg": 6, "2.jpg": 4, "3.jpg": 0, "1.jpg": 3})
    assert demo.score(submission, solution) == (0.75, 4)


def test_a_photo_without_an_answer_is_no_score(demo, tmp_path):
    solution = write_labels(tmp_path / "solution.csv", {"1.jpg": 3, "2.jpg": 4})
    with pytest.raises(KeyError, match=r"2\.jpg"):
        demo.score(write_labels(tmp_path / "submission.csv", {"1.jpg": 3}), solution)


@pytest.mark.parametrize(
    ("accuracy", "control", "code", "said"),
    [
        (0.90, 0.50, 0, ""),
        (0.89, 0.30, 1, "the submission's accuracy is 0.890, below 0.90."),
        (0.95, 0.51, 1, "the control's accuracy is 0.510, above 0.50."),
        (0.10, 0.60, 1, "below 0.90 and the control's accuracy is 0.600"),
    ],
)
def test_an_accuracy_out_of_range_is_exit_code_1_and_a_sentence(demo, capsys, accuracy, control, code, said):
    assert demo.exit_code(accuracy=accuracy, control=control) == code
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == code


def test_the_last_lines_name_accuracy_control_submission_and_report(demo, tmp_path):
    figures = {"accuracy": 0.96, "control_accuracy": 0.33, "test_photos": 400, "seconds": {"draw": 10.0, "train": 80.0}}
    *_, accuracy, submission, report = demo.closing_lines(figures, tmp_path).splitlines()
    assert "0.960" in accuracy
    assert "0.330" in accuracy
    assert submission.endswith("submission.csv")
    assert report.endswith("demo_3/report.html")


@pytest.mark.parametrize("installed", [True, False])
def test_a_pretrained_network_is_trained_where_its_weights_are(demo, tmp_path, monkeypatch, installed):
    monkeypatch.setattr(
        "carclf.model.local_weights._has_local_weights", lambda row: installed and row.name == "efficientnet_lite0"
    )
    command = demo.steps(tmp_path, demo.DemoOptions()).get("pretrained", [])
    assert ("--flagfile=stages/lite0_224_head.flags" in command) == installed
    assert (f"--data={tmp_path / 'data'}" in command) == installed


def test_the_pretrained_network_has_a_line_of_its_own(demo, tmp_path):
    figures = {"accuracy": 0.96, "control_accuracy": 0.33, "test_photos": 400, "seconds": {"train": 80.0}}
    assert "efficientnet_lite0" not in demo.closing_lines(figures, tmp_path)
    run = tmp_path / "runs" / "lite0_224_head"
    run.mkdir(parents=True)
    (run / "metrics.json").write_text('{"val_accuracy": 0.9125, "val_photos": 320}')
    figures["seconds"]["pretrained"] = 60.0
    (line,) = [line for line in demo.closing_lines(figures, tmp_path).splitlines() if "efficientnet_lite0" in line]
    assert "0.912 of 320 held-out photos" in line


@pytest.mark.slow
def test_the_whole_way_runs_and_runs_again(tmp_path):
    """Few photos teach too little, so the target is missed: exit code 1, but every file is written."""
    command = [sys.executable, str(SCRIPT), f"--output={tmp_path / 'demo'}", "--photos=200", f"--json={tmp_path / 'f'}"]
    for again in (False, True):
        answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=900)
        figures = json.loads((tmp_path / "f").read_text())
        assert answer.returncode == (figures["accuracy"] < 0.90 or figures["control_accuracy"] > 0.50)
        assert (tmp_path / "demo" / "submission.csv").read_text().count("\n") == 51
        assert (tmp_path / "demo" / "runs" / "demo_3" / "report.html").is_file()
        known = [name for name in figures["seconds"] if name != "pretrained"]  # only where the extra lite is
        assert known == ["draw", "convert", "train", "evaluate", "predict", "control"]
        assert ("is finished" in answer.stdout) == again


def test_the_evaluation_is_told_with_and_without_views(demo, tmp_path):
    metrics = {"val_accuracy": 0.98, "val_photos": 160, "tta": {"evaluation": {"accuracy": 0.9875}}}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    assert demo.validation(tmp_path) == "0.980 and 0.988 of 160"
