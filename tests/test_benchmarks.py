"""Benchmarks print the right figures; the slow tests run them in miniature."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from carclf.errors import UserError

ROOT = Path(__file__).parent.parent


@pytest.fixture
def load(monkeypatch):
    """Returns a function that loads a script of benchmarks/ as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))

    def go(name: str):
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", ROOT / "benchmarks" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return go


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Returns 3 class folders of 12 photos of noise, each class with its own colour."""
    return draw_noise(tmp_path_factory.mktemp("photos"), count=12)


def draw_noise(folder: Path, *, count: int) -> Path:
    rng = np.random.default_rng(0)
    for label, colour in enumerate([(200, 60, 60), (60, 200, 60), (60, 60, 200)]):
        (folder / f"class{label}").mkdir(parents=True)
        for number in range(count):
            pixels = rng.normal(colour, 40, (6, 8, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).resize((96, 72)).save(folder / f"class{label}" / f"{number}.jpg")
    return folder


def test_the_table_of_training_compares_medians(load):
    train = load("train")
    figures = {
        "seconds_a_step": {"carclf": [1.0, 1.25, 9.0], "bare loop": [1.0, 1.0, 1.5]},
        "overhead": 0.25,
        "traces": [2, 0, 0, 0],
        "first_step_seconds": {"carclf": 11.0, "bare loop": 10.0},
    }
    table = train.table(train.TrainBenchmarkOptions(photos="photos", batch_size=10), figures)
    assert "carclf         1.250 s per step (1.000 to 9.000), 8.0 images per second" in table
    assert "bare loop      1.000 s per step (1.000 to 1.500), 10.0 images per second" in table
    assert "carclf takes +25.0% against the bare loop (at most +5%)" in table
    assert "carclf 11.0 s, Keras's own compile 10.0 s (1.10, at most 1.2)" in table
    assert "in each fit: [2, 0, 0, 0]" in table


def test_help_is_compared_with_a_bare_python(load):
    start = load("start")
    figures = {
        "import_ms": {"now": 9.25, "before": 81.0},
        "first_step": {
            "now": {"seconds": [18.0, 21.0, 20.0], "processor": [24.0, 24.0, 24.0]},
            "before": {"seconds": [25.0, 25.0, 29.0], "processor": [30.0, 32.0, 33.0]},
        },
        "help_seconds": {"python -c pass": 0.02, "train": 0.25},
        "compile_seconds": {"224 px from 320": {"render": 3.5, "resize": 0.5}},
    }
    table = start.table(figures)
    assert "milliseconds of import carclf: now 9.2, before 81.0\n" in table
    assert "  now               18.0   20.0     24.0   24.0   0.80 x before, processor 0.75 x\n" in table
    assert "  before            25.0   25.0     30.0   32.0\n" in table
    assert "  python -c pass    0.020    1.0\n  train             0.250   12.5\n" in table
    assert "  224 px from 320  Render 3.50, resize 0.50" in table


def test_a_probe_is_compared_with_bare_passes_and_with_fine_tuning(load):
    probe = load("probe")
    commands = {
        "probe": {"seconds": 60.0, "process_mb": 812.0},
        "head": {"seconds": 100.0, "process_mb": 900.0},
        "all": {"seconds": 650.0, "process_mb": 1500.0},
    }
    rates = {
        "features": {"seconds": [10.0, 9.0, 30.0], "busy": [20.0, 20.0, 21.0]},
        "bare": {"seconds": [9.0, 9.5, 9.0], "busy": [19.0, 19.2, 19.0]},
    }
    table = probe.table(
        {"commands": commands, "rates": rates},
        extractor="mobilenet_v2@224",
        options=probe.ProbeBenchmarkOptions(data="data", backbones="mobilenet_v2", epochs=14),
    )
    assert "14 epochs of mobilenet_v2@224: 750 s\nratio 0.080 (wanted: at most 0.1)" in table
    assert "features at 0.900 of the bare speed (wanted: 0.95); by processor seconds 0.950" in table


def test_a_plan_is_compared_with_real_times_and_says_how_many_cores_were_busy(load):
    plan = load("plan")
    content = {
        "budget_seconds": 240.0,
        "stages": [{"stage": "head_96", "seconds": 60.0}, {"stage": "all_96", "seconds": 100.0}],
        "prediction_seconds": 40.0,
    }
    measured = {"planning_seconds": 90.0, "planning_cores": 1.5, "real_cores": 0.75}
    text = plan.table(plan.compare(content, [66.0, 110.0, 40.0]) | measured)
    assert "head_96                       60 s    66 s                    +10.0%\n" in text
    assert "in all off by 8.0% (at most 15%: reached); 216 s of a budget of 240 s (kept); planning itself" in text
    assert text.endswith("cores that were busy with it: 0.75, while planning 1.50")
    assert "off by 20.0% (at most 15%: missed)" in plan.table(plan.compare(content, [100.0, 100.0, 40.0]) | measured)


def test_a_store_is_compared_with_a_local_disk(load):
    first = {
        "rates": {"local": [1000.0, 900.0, 1100.0], "remote": [850.0, 840.0, 890.0]},
        "median": {"local": 1000.0, "remote": 850.0},
        "ratio": 0.85,
        "cpu_ms": {"local": 1.0, "remote": 1.0625},
    }
    second = first | {"ratio": 0.95}
    table = load("storage").table(224, {"first": first, "second": second}, latency_ms=30.0)
    assert "  first epoch, local      1,000     900   1,100    1.00 ms\n" in table
    assert "  first epoch, remote       850     840     890    1.06 ms\n" in table
    assert "30 ms a request: 0.85 of local (wanted 0.9: missed)\n  second epoch, local" in table
    assert table.endswith("30 ms a request: 0.95 of local (wanted 0.9: reached)")


def test_the_noise_of_an_accuracy_is_that_of_a_difference(load):
    noise = load("features").accuracy_noise
    assert noise(0.5, photos=200) == pytest.approx(1.96 * 0.05)
    assert noise(1.0, photos=200) == 0.0


def test_a_head_is_compared_with_the_regression_on_its_features(load):
    heads = load("heads")
    results = {
        name: {"val_accuracy": 0.6, "train_seconds": seconds}
        for name, seconds in zip(heads.STARTS, (30, 20), strict=True)
    }
    table = heads.report(results, 0.605)
    assert "photos, random start        0.600 in 30.0 s" in table
    assert "no worse than the control - 0.01: reached\n1.50 times faster than on photos" in table
    assert "missed" in heads.report(results, 0.62)


def test_the_right_form_of_an_answer_is_worth_what_theory_says(load, tmp_path, monkeypatch, capsys):
    """One label of ten is wrong: as 0 or 1 that costs 36 nats each, as a calibrated probability the entropy of 0.9."""
    forms = load("forms")
    monkeypatch.chdir(tmp_path)
    forms.main(forms.FormsOptions(photos=2000))
    table = capsys.readouterr().out.split("score\n")[1]
    scores = {" ".join(words[1:-1]): float(words[-1]) for words in map(str.split, table.splitlines())}
    expected = 0.1 * 36.04 / -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    assert scores["0 or 1"] / scores["the calibrated probability"] == pytest.approx(expected, rel=0.25)
    assert scores["the calibrated probability"] < scores["the probability"] < scores["0 or 1"]
    assert scores["the five likeliest"] > scores["the likeliest label"] + 0.02
    assert scores["thresholds on the expected grade"] > scores["the likeliest grade"]


def run(script: str, photos: Path, folder: Path, *flags: str) -> tuple[str, dict]:
    command = [sys.executable, str(ROOT / "benchmarks" / script), f"--photos={photos}", "--json=figures.json", *flags]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=900)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout, json.loads((folder / "figures.json").read_text())


@pytest.mark.slow
def test_training_is_compared_with_a_loop_and_traced_only_in_the_first_fit(photos, tmp_path):
    flags = ("--backbone=tiny", "--image_size=32", "--batch_size=4", "--steps=2", "--repeats=2")
    said, figures = run("train.py", photos, tmp_path, *flags)
    assert figures["traces"] == [2, 0, 0]  # a training step and a test step
    assert {way: len(times) for way, times in figures["seconds_a_step"].items()} == {"carclf": 2, "bare loop": 2}
    assert all(seconds > 0 for seconds in figures["first_step_seconds"].values())
    assert f"carclf takes {figures['overhead']:+.1%} against the bare loop" in said


@pytest.mark.slow
def test_features_are_compared_with_photos(photos, tmp_path):
    flags = ("--backbone=tiny", "--image_size=32", "--epochs=2", "--batch_size=8")
    said, figures = run("features.py", photos, tmp_path, *flags)
    seconds = {name: result["train_seconds"] for name, result in figures["results"].items()}
    assert figures["ratio"] == pytest.approx(seconds["photos"] / seconds["features"])
    assert f"{figures['ratio']:.1f} times faster with 1 draws for 2 epochs (wanted: 1.6)" in said
    assert "val_accuracy differs by" in said


@pytest.mark.slow
def test_a_head_and_its_control_see_the_same_photos(photos, tmp_path):
    flags = ("--backbone=tiny", "--image_size=32", "--epochs=1", "--batch_size=8")
    said, figures = run("heads.py", photos, tmp_path, *flags)
    assert figures["control"] > 0.8  # the colour of a photo is its class
    assert figures["results"]["kept features, regression"]["val_accuracy"] > 0.8
    assert "times faster than on photos" in said


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_the_gpu_benchmark_runs_on_a_cpu(backend, tmp_path):
    path = tmp_path / "gpu.json"
    command = [sys.executable, "benchmarks/gpu.py", "--cases=tiny_32", "--steps=2", "--repeats=2", f"--json={path}"]
    environment = os.environ | {"KERAS_BACKEND": backend}
    answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=1200)
    assert answer.returncode == 0, answer.stderr
    (row,) = json.loads(path.read_text())["rows"]
    figures = row["carclf"]
    assert min(figures[f"{what}_seconds"] for what in ("train", "render", "predict", "views", "bare")) > 0
    assert figures["flops"] > 1e6
    assert "tiny_32" in answer.stdout


def test_the_error_for_an_unknown_case_is_one_sentence():
    command = [sys.executable, "benchmarks/gpu.py", "--cases=b9_999"]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert answer.returncode == 2
    assert answer.stderr.startswith("Error: --cases=b9_999: there is no b9_999; choose of b0_224, b3_300")


def test_pseudo_labels_are_compared_with_true_labels_of_the_same_photos(load):
    pseudo = load("pseudo_labels")
    fold = {"seconds": dict.fromkeys((pseudo.TEACHER, pseudo.STUDENT, pseudo.CONTROL), 2.0), "hidden": 30, "pseudo": 20,
            "right": 18, "hidden_hits": [[1, 0], [1, 1]]}  # fmt: skip
    figures = pseudo.pooled(
        [fold | {"hits": [[1, 0, 0], [1, 1, 0], [1, 1, 1]]}, fold | {"hits": [[1, 1], [0, 1], [1, 1]]}]
    )
    table = pseudo.report(figures)
    assert "40 of 60 hidden photos got a pseudo-label, and 90.0% of these are right\n5 held-out photos:\n" in table
    assert "without                         0.600 (0.231–0.882)\n" in table
    assert "pseudo-labels                   0.600 (0.231–0.882), +1 −1 against without, p = 1\n" in table
    assert "true labels of the same photos  1.000 (0.566–1.000), +2 −0 against without, p = 0.5\n4 hidden" in table
    assert "pseudo-labels                   1.000 (0.510–1.000), +2 −0 against without, p = 0.5\n" in table
    assert table.endswith("true labels of the same photos: 4.0 s")


def test_scenes_of_a_third_of_each_class_lose_their_labels(load, tmp_path):
    source, converted = tmp_path / "photos", tmp_path / "data"
    lines = ["id,label,class_name,fold,source"]
    for number in range(12):
        name = f"class{number % 2}/{number // 2}.jpg"
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(name.encode())
        lines.append(f"{number},{number % 2},class{number % 2},{number // 2 % 3},{name}")
    converted.mkdir()
    (converted / "ids-train.csv").write_text("\n".join(lines) + "\n")
    hidden = load("pseudo_labels").hide(source, converted, tmp_path / "hidden")
    of_fold_0 = {f"class{label}__{number}.jpg": f"class{label}" for label in (0, 1) for number in (0, 3)}
    assert hidden == of_fold_0
    assert {path.name for path in (tmp_path / "hidden" / "test").iterdir()} == set(of_fold_0)
    listed = (tmp_path / "hidden" / "train.csv").read_text().splitlines()
    assert listed[:3] == ["Id,Category", "class0__1.jpg,class0", "class1__1.jpg,class1"]
    assert len(listed) == 9
    assert {path.name for path in (tmp_path / "hidden" / "train").iterdir()} == {
        line.split(",")[0] for line in listed[1:]
    }


def test_runs_by_stages_are_the_last_of_them(load, tmp_path, monkeypatch):
    pseudo, calls = load("pseudo_labels"), []
    for name in ("mobilenet_v2_224_head", "mobilenet_v2_224_all"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text('{"train_seconds": 2.5}')
    monkeypatch.setattr(pseudo, "run_python", lambda *words: calls.append(words))
    options = pseudo.PseudoBenchmarkOptions(photos="photos", stages="mobilenet_v2_224_head,mobilenet_v2_224_all")
    run, seconds = pseudo.train(options, Path("data"), tmp_path, 1, pseudo_labels=Path("pseudo.csv"))
    assert (run, seconds) == (tmp_path / "mobilenet_v2_224_all", 5.0)
    assert {f"--stages={options.stages}", f"--runs={tmp_path}", "--pseudo_labels=pseudo.csv"} < set(calls[0])
    assert not any(word.startswith(("--epochs", "--augment", "--unfreeze", "--run=")) for word in calls[0])


def test_a_third_of_the_photos_is_external_in_each_of_its_kinds(load, tmp_path):
    external = load("external_photos")
    source, lines = tmp_path / "photos", ["id,label,class_name,fold,source"]
    for number in range(12):
        name = f"class{number % 2}/{number // 2}.jpg"
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (96, 72), (200, 60, 60)).save(source / name)
        lines.append(f"{number},{number % 2},class{number % 2},{number // 2 % 3},{name}")
    (tmp_path / "ids-train.csv").write_text("\n".join(lines) + "\n")
    own, extra = external.divide(source, tmp_path)
    assert extra == {f"class{label}/{number}.jpg": f"class{label}" for number in (0, 3) for label in (0, 1)}
    assert len(own) == 8
    assert not own.keys() & extra.keys()
    hundred = {f"{number}.jpg": f"class{number % 4}" for number in range(100)}
    wrong = external.with_wrong_classes(hundred, 42)
    assert sum(wrong[name] != hundred[name] for name in hundred) == 20
    assert set(wrong.values()) == set(hundred.values())
    external.copy(extra, source, tmp_path / "small", write=external.write_small)
    with Image.open(tmp_path / "small" / "class1" / "class1__3.jpg") as photo:
        assert (photo.mode, photo.size) == ("L", (64, 48))
    assert len(list((tmp_path / "small").rglob("*.jpg"))) == 4


@pytest.mark.parametrize(
    ("name", "options", "flag", "value"),
    [
        ("external_photos", {"photos": "p"}, "pseudo_confidence", 0.5),
        ("external_photos", {"photos": "p"}, "tta", "clean"),
        ("guided_crops", {"data": "d"}, "minutes", 3.0),
    ],
)
def test_an_inherited_option_that_does_nothing_is_refused(load, name, options, flag, value):
    kind = {"external_photos": "ExternalBenchmarkOptions", "guided_crops": "GuidedOptions"}[name]
    benchmark = getattr(load(name), kind)
    benchmark(**options)
    with pytest.raises(UserError, match=f"--{flag}={value} is not possible: "):
        benchmark(**options, **{flag: value})


def test_the_table_of_external_photos_compares_with_those_without(load):
    external = load("external_photos")
    names = (external.WITHOUT, "like the others")
    pooled = external.compared(names, [[[1, 0, 0], [1, 1, 0]], [[1, 1], [0, 1]]])
    table = external.report(pooled, {external.WITHOUT: 10.0, "like the others": 15.0})
    assert table.splitlines() == [
        "5 held-out photos:",
        "  without external photos         0.600 (0.231–0.882), 10 s",
        "  like the others                 0.600 (0.231–0.882), +1 −1 against without, p = 1, 15 s",
    ]


@pytest.mark.slow
def test_external_photos_of_each_kind_are_trained_on(tmp_path):
    photos = draw_noise(tmp_path / "photos", count=30)
    flags = ("--backbone=tiny", "--image_size=32", "--epochs=4", "--batch_size=8", "--unfreeze=all", "--folds=2")
    said, figures = run("external_photos.py", photos, tmp_path, *flags)
    assert len(figures["pooled"]) == 4
    assert {own["photos"] for own in figures["pooled"].values()} <= set(range(24, 37))
    assert "small grey copies of them" in said


@pytest.mark.slow
def test_pseudo_labels_are_made_and_trained_on(tmp_path):
    photos = draw_noise(tmp_path / "photos", count=30)
    flags = ("--backbone=tiny", "--image_size=32", "--epochs=8", "--batch_size=8", "--unfreeze=all", "--folds=2")
    said, figures = run("pseudo_labels.py", photos, tmp_path, *flags, "--pseudo_confidence=0.34")
    pooled = figures["pooled"]
    assert 24 <= pooled["hidden"] <= 36
    assert pooled["right"] > 0.8 * pooled["pseudo"] > 0  # the colour of a photo is its class
    assert {name: own["photos"] for name, own in pooled["test"].items()} == dict.fromkeys(
        ("without", "pseudo-labels"), pooled["hidden"]
    )
    assert pooled["held_out"]["pseudo-labels"]["photos"] in range(24, 37)
    assert "hidden photos got a pseudo-label" in said
