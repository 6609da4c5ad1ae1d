import importlib
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from carclf import command, preemption, tables
from carclf.__main__ import commands
from carclf.errors import Preempted, UserError
from carclf.flags import Options, options_of
from carclf.predict import PredictOptions
from carclf.tables import load
from carclf.train_options import TrainOptions

ROOT = Path(__file__).parent.parent
HEAVY = {"tensorflow", "keras", "jax", "numpy", "pandas", "scipy", "matplotlib", "PIL"}
COMMANDS = tuple(commands())
DOORS = {
    "train": ["-m", "carclf.train"],
    "evaluate": ["-m", "carclf.evaluate"],
    "predict": ["-m", "carclf.predict"],
    "explore": ["-m", "carclf.explore"],
    "export": ["-m", "carclf.export"],
    "serve": ["-m", "carclf.serve"],
    "sample": ["-m", "carclf.sample"],
    "make_tfrecords": ["tools/make_tfrecords.py"],
    "carclf": ["-m", "carclf", "make_tfrecords"],
}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=120)


def assert_one_sentence(answer: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert answer.returncode == 2, answer.stderr
    assert "Traceback" not in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1
    for part in parts:
        assert part in answer.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_help_imports_nothing_heavy(name):
    program = (
        "import runpy, sys\n"
        f"sys.argv = ['carclf', '--help']\n"
        f"try: runpy.run_module('carclf.{name}', run_name='__main__')\n"
        f"finally: print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    answer = run("-c", program)
    assert (answer.returncode, answer.stderr.strip()) == (0, "[]")
    assert "Example:" in answer.stdout


@pytest.mark.parametrize("name", DOORS)
def test_help_is_answered_by_every_way_in(name):
    answer = run(*DOORS[name], "--help")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "Example:" in answer.stdout


@pytest.mark.parametrize("name", DOORS)
def test_a_mistyped_flag_is_one_sentence(name):
    assert_one_sentence(run(*DOORS[name], "--outputt=x"), "outputt", "--help")


@pytest.mark.parametrize(("argument", "nearest"), [("--lerning_rate=3", "learning_rate"), ("--stge=b3_512", "stage")])
def test_a_mistyped_flag_suggests_the_nearest(argument, nearest):
    with pytest.raises(UserError, match=f": did you mean --{nearest}\\? --help lists every option"):
        command.parse_command_line(TrainOptions, [argument], description="")


@pytest.mark.parametrize("name", DOORS)
def test_a_stray_argument_is_one_sentence(name):
    assert_one_sentence(run(*DOORS[name], "stray"), "stray", "--name=value")


def test_later_flags_override_a_flag_file(tmp_path):
    file = tmp_path / "a.flags"
    file.write_text("# comment\n--epochs=3\n\n--batch_size=4\n")
    options = command.parse_command_line(TrainOptions, [f"--flagfile={file}", "--epochs=5"], description="")
    assert (options.epochs, options.batch_size) == (5, 4)


def test_flag_files_nest_beside_themselves(tmp_path):
    (tmp_path / "base.flags").write_text("--epochs=3\n--seed=9\n")
    (tmp_path / "stage.flags").write_text("--flagfile=base.flags\n--epochs=4\n")
    options = command.parse_command_line(TrainOptions, ["--flagfile", str(tmp_path / "stage.flags")], description="")
    assert (options.epochs, options.seed) == (4, 9)


def test_a_flag_file_that_includes_itself_is_refused(tmp_path):
    file = tmp_path / "loop.flags"
    file.write_text("--flagfile=loop.flags\n")
    with pytest.raises(UserError, match="includes itself"):
        command.expand_flagfiles([f"--flagfile={file}"])


def test_a_missing_flag_file_is_named():
    with pytest.raises(
        UserError, match=r"no flag file 'nowhere/b3_512\.flags': the stage of that name is --stage=b3_512"
    ):
        command.expand_flagfiles(["--flagfile=nowhere/b3_512.flags"])


def test_a_stage_is_found_by_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = command.parse_command_line(TrainOptions, ["--stage=b3_512"], description="")
    assert (options.image_size, options.batch_size, options.init_from) == ("512", 8, "b3_300_all")


def test_a_mistyped_stage_suggests_the_nearest():
    with pytest.raises(UserError, match="no stage 'b3_521': did you mean b3_512"):
        command.find_stage("b3_521")


@pytest.mark.parametrize(
    ("argument", "nearest"),
    [
        ("--fit=squach", "did you mean squash"),
        ("--device=tqu", "did you mean tpu"),
        ("--precision=16", "Known are auto"),
    ],
)
def test_a_mistyped_choice_suggests_the_nearest(argument, nearest):
    with pytest.raises(UserError, match=f"{argument} is not possible: .*{nearest}"):
        command.parse_command_line(TrainOptions, [argument], description="")


def options_class(name: str) -> type:
    return typing.get_type_hints(importlib.import_module(f"carclf.{name}").main)["options"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_in_the_help_under_its_subject_with_what_it_may_be(name):
    options = options_class(name)
    text = command.help_text(options, "Trains.")
    shown = {option: known for option, known in options_of(options).items() if option not in options.refused}
    for option, known in shown.items():
        here = text[text.index(f"\n{known.group}:") :]
        default = "none" if known.default == "" else known.default
        default = str(default).lower() if isinstance(default, bool) else default
        limits = f"{re.escape(known.range)}; " if known.range else ""
        given = (
            "required"
            if default == "none" and option in options.required
            else rf"default: '?{re.escape(str(default))}'?"
        )
        pattern = rf"\n  --(\[no\])?{option}\b.*\({limits}{given}\)\n((      .*\n?)+)"
        found = re.search(pattern, here)
        assert found, option
        assert known.help in " ".join(found[2].split())
        for legal in filter(None, known.known):
            assert re.search(rf"\b{re.escape(legal)}\b", found[0]), f"{option} does not name {legal}"


@pytest.mark.parametrize("name", [name for name in COMMANDS if options_class(name).required])
def test_a_command_asks_for_each_option_that_its_help_says_is_required(name):
    options = options_class(name)
    given = {option: f"--{option}=a" for option in options.required}
    for option in options.required:
        others = [argument for other, argument in given.items() if other != option]
        with pytest.raises(UserError, match=f"--{option} is missing"):
            command.parse_command_line(options, [*others, f"--{option}="], description="")


@pytest.mark.parametrize(
    "arguments", ["--stages=b0_112", "--plan --budget=9h", "--find_lr", "--resume_from=a", "--num_hosts=2", "--host=1"]
)
def test_the_help_of_a_search_leaves_out_what_it_refuses(arguments):
    options = options_class("tune")
    name = re.split("[= ]", arguments.strip("-"))[0]
    assert not re.search(rf"\n  --(\[no\])?{name}\b", command.help_text(options, "Searches."))
    with pytest.raises(UserError, match=f"--{name}=.* is not possible"):
        command.parse_command_line(
            options,
            ["--data=d", "--output=o", "--trials=1", "--coordinator=h:1", "--image_size=32", *arguments.split()],
            description="",
        )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_every_command_knows_itself(name):
    assert issubclass(options_class(name), Options)
    for option, known in options_of(options_class(name)).items():
        assert re.fullmatch(r"[A-Za-z].*\.", known.help), f"--{option} has no sentence as its help: {known.help}"
        assert " A row of " not in f" {known.help}"
        for table in (known.names,) if isinstance(known.names, str) else known.names:
            loaded = load(table)
            assert tables.read_names(table) == tuple(loaded), f"{table} is read otherwise than it is"
            assert tuple(loaded)
        if known.check:
            assert callable(load(known.check))
            assert known.names or not known.choices


@pytest.mark.parametrize(
    ("name", "flags", "names"),
    [
        ("train", ["--loss=focl"], ["cross_entropy", "focal"]),
        ("train", ["--backbone=vgg"], ["efficientnet_b0", "convnext_small", "tiny"]),
        ("train", ["--schedule=line"], ["constant", "cosine", "one_cycle"]),
        ("train", ["--optimizer=lion"], ["adam", "sgd"]),
        ("train", ["--augment=turn(5)"], ["rotate", "cutmix", "notebook"]),
        ("evaluate", ["--run=a", "--data=b", "--tta=crop"], ["clean", "five_crop", "random"]),
        ("predict", ["--run=a", "--data=b", "--tta_mean=odds"], ["probabilities", "logits"]),
        ("export", ["--run=a", "--output=b", "--format=torch"], ["savedmodel", "litert_int8"]),
        ("tune", ["--data=a", "--output=b", "--trials=1", "--pruner=mean"], ["median", "hyperband", "none"]),
        ("serve", ["--run=a", "--device=mirrored"], ["auto", "cpu", "gpu", "tpu"]),
    ],
    ids=str,
)
def test_an_unknown_name_is_answered_with_the_real_ones(name, flags, names):
    with pytest.raises(UserError) as caught:
        command.parse_command_line(options_class(name), flags, description="")
    for known in names:
        assert re.search(rf"\b{known}\b", str(caught.value))


def test_required_flags_are_named():
    with pytest.raises(UserError, match="--data is missing"):
        PredictOptions(run="runs/a")


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (UserError("It is\n broken."), 2, "Error: It is broken.\n"),
        (KeyboardInterrupt(), 130, "Stopped.\n"),
        (KeyboardInterrupt("Stopped at 7."), 130, "Stopped at 7.\n"),
        (Preempted("Saved at 7."), 75, "Saved at 7.\n"),
        (None, 0, ""),
    ],
)
def test_how_a_door_closes(raised, code, said, monkeypatch, capsys):
    def main(options):
        if raised is not None:
            raise raised

    monkeypatch.setattr(sys, "argv", ["command"])
    with pytest.raises(SystemExit) as exit_info:
        command.run_command(main, TrainOptions, description="")
    assert exit_info.value.code == code
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--focal_gamma=1", "Error: --focal_gamma=1.0 is not possible: it changes nothing without --loss=focal.\n"),
        ("--focal_gamma 1", "Error: --focal_gamma=1.0 is not possible: it changes nothing without --loss=focal.\n"),
        ("--focal_gamma=1 --flagfile=focal.flags", ""),
        ("--focal_gamma=2", ""),  # the default
        ("--flagfile=idle.flags", ""),  # stages share flag files
        ("--flagfile idle.flags", ""),
        ("--flagfile=idle.flags --noscale_batch", "Error: --scale_batch=False is not possible: it changes nothing "
         "without two sizes, such as --image_size=160-224.\n"),
        ("--stages=demo_1,demo_2 --focal_gamma=1", ""),  # `train_stages` knows all of them
    ],
)  # fmt: skip
def test_what_is_given_and_changes_nothing_is_refused(arguments, said, monkeypatch, capsys, tmp_path):
    (tmp_path / "focal.flags").write_text("--loss=focal")
    (tmp_path / "idle.flags").write_text("--focal_gamma=1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["command", *arguments.split()])
    with pytest.raises(SystemExit) as exit_info:
        command.run_command(lambda options: None, TrainOptions, description="")
    assert (exit_info.value.code, capsys.readouterr().err) == (2 if said else 0, said)


def test_what_a_schedule_passes_on_to_a_stage_is_not_refused_there(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["command", "--focal_gamma=1"])
    monkeypatch.setenv(preemption.LIFELINE, "standard input")
    monkeypatch.setattr(preemption, "begin", lambda: False)
    with pytest.raises(SystemExit) as exit_info:
        command.run_command(lambda options: None, TrainOptions, description="")
    assert exit_info.value.code == 0


def test_the_unexpected_keeps_its_traceback(monkeypatch):
    def main(options):
        raise ZeroDivisionError

    monkeypatch.setattr(sys, "argv", ["command"])
    with pytest.raises(ZeroDivisionError):
        command.run_command(main, TrainOptions, description="")


def test_a_missing_framework_names_the_extra(tmp_path, dataset):
    arguments = ["carclf.train", f"--data={dataset.directory}", "--backbone=tiny", "--weights=none"]
    program = (
        f"import runpy, sys; sys.modules['tensorflow'] = None; sys.argv = {arguments!r}; "
        f"sys.path.insert(0, {str(ROOT)!r}); runpy.run_module('carclf.train', run_name='__main__')"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert answer.returncode == 2, answer.stderr
    assert "Traceback" not in answer.stderr
    assert "tensorflow is not installed" in answer.stderr.splitlines()[-1]
    assert f"pip install -e '{ROOT}[cpu]'" in answer.stderr


def test_a_sentence_that_a_framework_wrapped_is_shown_alone(monkeypatch, capsys):
    def main(options):
        text = "2 root error(s)\n  UNKNOWN: DamagedShardError: The shard x is damaged: copy it again.\nTraceback (most"
        raise RuntimeError(text)

    monkeypatch.setattr(sys, "argv", ["command"])
    with pytest.raises(SystemExit) as caught:
        command.run_command(main, TrainOptions, description="")
    assert (caught.value.code, capsys.readouterr().err) == (2, "Error: The shard x is damaged: copy it again.\n")
