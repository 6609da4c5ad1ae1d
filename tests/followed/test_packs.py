"""Packs that cannot be made or installed, and what the error advises, done."""

import shutil
import subprocess
from pathlib import Path

import pytest
from texts import refused, says

from carclf import hashed_json, runs
from carclf.pack import PackOptions
from carclf.packing import install
from carclf.packing.contents import Contents, collect
from carclf.packing.target import Target, find_target, this_python
from carclf.packing.wheel_plan import plan_wheels
from carclf.packing.writing import check_whole, pack_in
from tests.packing.made_packs import Index, make_pack


@pytest.fixture
def contents(tmp_path, monkeypatch):
    """A function that collects what a pack holds of stages, weights and runs in this folder."""
    monkeypatch.chdir(tmp_path)

    def go(**given: str | list[str]) -> Contents:
        return collect(**{"run": "", "runs_folder": "runs", "weights": "", "stages": "", "extras": [], **given})

    return go


def write(path: str, text: str = "") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def test_a_pack_holds_what_its_stages_start_from(contents):
    with refused("packing/contents.py: The stage … starts from weights"):
        contents(stages="lite0_224_head")
    write("lite.pth")
    assert contents(stages="lite0_224_head", weights="lite.pth").weights == ["lite.pth"]
    assert contents(stages="lite0_224_head", extras=["lite"]).weights == []
    with refused("packing/contents.py: --weights=… serves no stage"):
        contents(stages="scratch_96", weights="lite.pth")
    for stages, weights in (("lite0_224_head", "lite.pth,b3.h5"), ("lite0_224_head,b3_300_head", "a.h5,b.h5,c.h5")):
        for file in weights.split(","):
            write(file)
        with refused("packing/contents.py: --weights names"):
            contents(stages=stages, weights=weights)
    both = "lite0_224_head,b3_300_head"
    assert [len(contents(stages=both, weights=given).weights) for given in ("a.h5", "a.h5,b.h5")] == [1, 2]


def test_weights_are_there_and_have_names_of_their_own(contents):
    stages = {"stages": "lite0_224_head,b3_300_head"}
    with refused("packing/contents.py: There are no weights"):
        contents(**stages, weights="lite.pth")
    write("lite.pth")
    write("other/lite.pth")
    with refused("packing/contents.py: Two of --weights"):
        contents(**stages, weights="lite.pth,other/lite.pth")
    write("other/renamed.pth")
    assert contents(**stages, weights="lite.pth,other/renamed.pth").weights == ["lite.pth", "renamed.pth"]
    Path("preset").mkdir()
    with refused("packing/contents.py: The folder of weights"):
        contents(**stages, weights="preset")
    write("preset/config.json")
    assert contents(**stages, weights="preset").weights == ["preset"]


def test_stages_and_runs_have_names_of_their_own(contents, made):
    for run in (made("one"), made("other/one"), made("two"), made("b3_300_all")):
        (run.directory / runs.BEST_WEIGHTS).touch()
    with refused("packing/contents.py: Two runs"):
        contents(run="one,runs/other/one")
    Path("runs/other/one").rename("runs/other/first")
    assert contents(run="one,runs/other/first").runs == ["one", "first"]
    for folder, epochs in (("a", 1), ("b", 2)):
        write(f"{folder}/mine.flags", f"--backbone=tiny\n--weights=none\n--epochs={epochs}\n")
    with refused("packing/contents.py: Two of --stages"):
        contents(stages="a/mine.flags,b/mine.flags")
    Path("b/mine.flags").rename("b/second.flags")
    assert [stage.name for stage in contents(stages="a/mine.flags,b/second.flags").stages] == ["mine", "second"]
    with refused("packing/contents.py: The stage … starts from the run"):
        contents(stages="b3_512")
    contents(stages="b3_512", run="b3_300_all")
    write("b3.h5")
    write("first.flags", "--backbone=tiny\n--weights=none\n--run=runs/first\n")
    write("second.flags", "--backbone=tiny\n--weights=none\n--init_from=first\n")
    contents(stages="first.flags,second.flags")


def test_the_image_and_its_extras_are_given_as_advised(contents, tmp_path):
    write("list.txt", "nothing\n\n")
    with refused("packing/target.py: "):
        find_target("list.txt", "")
    write("list.txt", "numpy==2.1.0\ncarclf==1\n")
    target = find_target("list.txt", "3.12")
    assert target.packages == {"numpy": "2.1.0"}


def test_wheels_fit_another_image_or_python():
    there = Target("old image", "3.12", {"numpy": "1.20"})

    def plan(target: Target) -> list[str]:
        return [one.name for one in plan_wheels(["numpy>=1.26"], extras=[], target=target, index=Index(target).newest)]

    with refused("packing/wheel_plan.py: "):
        plan(there)
    assert plan(Target("newer image", "3.12", {"numpy": "2.1.0"})) == []


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A pack without runs, for this Python."""
    with pytest.MonkeyPatch.context() as patch:
        return make_pack(tmp_path_factory.mktemp("packs") / "cars", patch, image="kaggle", python=this_python())


@pytest.fixture
def pack(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "cars")


def test_a_folder_that_holds_something_else_is_kept_or_removed(pack, tmp_path, monkeypatch):
    def again(output: Path = pack, **changes: str) -> Path:
        return make_pack(output, monkeypatch, **{"image": "kaggle", "python": this_python()} | changes)

    (tmp_path / "file").touch()
    with refused("packing/writing.py: … is a file"):
        pack_in(tmp_path / "file")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").touch()
    with refused("packing/writing.py: The folder … holds other files"):
        pack_in(tmp_path / "mine")
    with refused("packing/packer.py: The folder … holds a pack of another"):
        again(competition="cars")
    (tmp_path / "own.flags").write_text("--backbone=tiny\n--weights=none\n")
    with refused("packing/packer.py: The folder … holds a pack with another"):
        again(stages=str(tmp_path / "own.flags"))
    with refused("packing/packer.py: --extras"):
        again(tmp_path / "new", extras="exprot")
    assert again(tmp_path / "new", extras="export").is_dir()
    (pack / "README.md").write_text("")
    with refused("packing/writing.py: …"):
        check_whole(pack, pack_in(pack))
    shutil.rmtree(pack)
    check_whole(again(competition="cars"), pack_in(pack))


def test_a_pack_is_installed_from_whole_files(pack, whole):
    content = install.read_pack(str(pack))
    (pack / "README.md").unlink()
    with refused("packing/install.py: … is missing"):
        install.check_files(str(pack), content)
    (pack / "README.md").write_text("")
    with refused("packing/install.py: … is damaged (its SHA-256 differs)"):
        install.check_files(str(pack), content)
    (pack / install.PACK_FILE).write_text("{")
    with refused("packing/install.py: … is damaged (…)"):
        install.read_pack(str(pack))
    shutil.copytree(whole, pack, dirs_exist_ok=True)  # uploaded again
    (pack / "foreign").touch()
    with refused("packing/install.py: … is not a file of this pack"):
        install.check_files(str(pack), content)
    (pack / "foreign").unlink()
    install.check_files(str(pack), install.read_pack(str(pack)))


def test_a_pack_is_made_for_the_machine_that_it_is_installed_on(pack, monkeypatch):
    content = install.read_pack(str(pack))
    install.check_machine(content)
    with refused("packing/install.py: This pack is for Python"):
        install.check_machine(content | {"python": "3.10"})
    assert PackOptions(output="out", python=this_python()).python == this_python()
    with refused("packing/install.py: This pack is for … and this machine"):
        install.check_machine(content | {"system": "Linux riscv64"})
    hashed_json.write(pack / install.PACK_FILE, content | {"format_version": 9})
    with refused("packing/install.py: … was written by another version"):
        install.read_pack(str(pack))


def test_what_pip_lists_here_is_an_image(pack, tmp_path, monkeypatch):
    for said, text in (
        (b"ERROR: No matching distribution", "packing/install.py: pip cannot install"),
        (b"No module named pip", "packing/install.py: This Python has no pip"),
    ):
        with monkeypatch.context() as patch, refused(text):
            patch.setattr(subprocess, "run", lambda *_, said=said, **__: subprocess.CompletedProcess([], 1, b"", said))
            install.run_pip(str(pack))
    listed = "".join(f"{name}=={version}\n" for name, version in install.installed().items())
    (tmp_path / "list.txt").write_text(listed)
    target = find_target(PackOptions(output="out", image=str(tmp_path / "list.txt")).image, "")
    assert (target.packages["numpy"], target.python) == (install.installed()["numpy"], this_python())


def test_the_installer_takes_no_other_option(pack, monkeypatch, capsys):
    monkeypatch.setattr(install, "__file__", str(pack / "install.py"))
    assert install.main(["--chekc"]) == 2
    said = capsys.readouterr().err.strip().removeprefix("Error: ")
    assert says("packing/install.py: install.py has no option", said)
    assert install.main(["--check"]) == 0
