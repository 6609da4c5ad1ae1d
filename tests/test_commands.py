"""`carclf COMMAND`: the commands it knows, how it runs them, and how it refuses others."""

import configparser
import importlib
import sys
from pathlib import Path

import pytest

import carclf
from carclf.__main__ import commands, help_text, main
from carclf.command import help_text as door_help
from carclf.explore import DESCRIPTION, ExploreOptions

ROOT = Path(__file__).parent.parent


def run(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["carclf", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return (caught.value.code, *capsys.readouterr())


def test_every_door_is_a_command():
    of_source = {path.stem for path in (ROOT / "carclf").glob("*.py") if "    run_command(main, " in path.read_text()}
    assert set(commands()) == of_source
    assert {"make_tfrecords", "explore", "train", "predict"} <= of_source


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)], ids=str)
def test_help_says_what_each_command_is_for(arguments, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, *arguments)
    assert (code, out, err) == (0, help_text() + "\n", "")
    for name, summary in commands().items():
        assert f"  {name} " in out
        assert summary in out
    assert out.index("  make_tfrecords ") < out.index("  train ") < out.index("  predict ")


def test_a_command_is_the_command_of_its_name(monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, "explore", "--help")
    assert (code, out, err) == (0, door_help(ExploreOptions, DESCRIPTION) + "\n", "")


def test_its_exit_code_and_its_sentence_are_passed_on(monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, "explore", "--data=nowhere")
    assert (code, out) == (2, "")
    assert err.startswith("Error: There is no folder nowhere")


def test_a_mistyped_command_suggests_the_nearest(monkeypatch, capsys):
    assert run(monkeypatch, capsys, "trian") == (2, "", "Error: There is no command 'trian': did you mean train?\n")
    _, _, err = run(monkeypatch, capsys, "xyzzy")
    assert "the commands are sample, make_tfrecords, explore" in err


def test_the_version(monkeypatch, capsys):
    assert run(monkeypatch, capsys, "--version") == (0, f"carclf {carclf.__version__}\n", "")


def test_it_is_installed_under_its_name():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    (line,) = setup["options.entry_points"]["console_scripts"].strip().splitlines()
    name, _, place = line.partition(" = ")
    module, _, function = place.partition(":")
    assert name == "carclf"
    assert getattr(importlib.import_module(module), function) is main
