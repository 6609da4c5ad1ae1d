"""Every error text that advises to repeat a command or to add --overwrite is listed with the test that follows it."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "carclf"
ERRORS = {"UserError", "StorageError", "DamagedShardError", "Refusal"}
ADVISED = re.compile(r"\bagain\b|--overwrite")
SHOWN = "…"  # in place of a value
RUNS = "ADVICE of carclf/runs/run_files.py"
PSEUDO = "ADVICE of carclf/data/pseudo_labels.py"

OVERWRITTEN = "tests/convert/test_overwrite.py::test_what_the_error_text_advises_mends_the_data_set"
CONVERTED = "tests/convert/test_converter.py::"
KILLED = "tests/convert/test_kills.py::"
OPENED = "tests/runs/test_opening.py::"
DRAWN = "tests/synthetic/test_dataset.py::test_other_content_is_refused"
LABELLED = "tests/data/test_pseudo_labels.py::test_damage_is_one_sentence"

# What a text begins with, without its values → the test that does what it says.
FOLLOWED = {
    "averaging/plan.py: The folder … holds a run": "tests/test_soup.py::test_a_run_is_replaced_when_told",
    "convert/beam.py: The Beam pipeline failed": KILLED + "test_killed_at_a_few_random_moments",
    "convert/converter.py: The conversion stopped": KILLED + "test_a_disk_that_refuses_the_commit_is_one_sentence",
    "convert/existing.py: … holds a data set of other": CONVERTED
    + "test_other_options_are_refused_unless_told_to_overwrite",
    "convert/existing.py: … holds a damaged data set": OVERWRITTEN,
    "convert/shards.py: … changed while": CONVERTED + "test_a_photo_that_changes_meanwhile_is_named",
    "convert/shards.py: … could not be written": KILLED + "test_a_disk_that_fills_up_is_one_sentence_and_no_data_set",
    "data/index.py: … has other photo counts": OVERWRITTEN,
    "data/index.py: The shard … is damaged at row": OVERWRITTEN,
    "data/loader.py: The photo at row": OVERWRITTEN,
    "data/manifest.py: The shard": OVERWRITTEN,
    "data/manifest.py: … has format": OVERWRITTEN,
    "data/manifest.py: … has the older format": OVERWRITTEN,
    "data/manifest.py: … … since the conversion": OVERWRITTEN,
    "data/manifest.py: … is damaged": OVERWRITTEN,
    "data/pseudo_labels.py: ": LABELLED,
    "exporting/folder.py: The folder … exists": "tests/test_export.py::test_a_folder_that_is_there_is_kept",
    "probe.py: A probe needs": "tests/test_probe.py::test_a_data_set_of_one_fold_is_converted_as_advised",
    "report/run_files.py: … is damaged": OPENED + "test_a_damaged_run_is_trained_again_with_overwrite",
    "runs/opening.py: The run … was started with": OPENED + "test_another_precision_is_refused",
    "runs/run_files.py: ": OPENED + "test_a_damaged_run_is_trained_again_with_overwrite",
    "runs/weights_files.py: ": OPENED + "test_a_damaged_run_is_trained_again_with_overwrite",
    "synthetic/dataset.py: --output=… is missing": DRAWN,
    "synthetic/dataset.py: --output=… has only": DRAWN,
}
# Texts whose advice lies outside carclf: another copy of a file, pip, memory, another learning rate.
OUTSIDE = {
    "convert/examples.py", "convert/parquet.py", "convert/sources.py", "convert/tars.py", "convert/zips.py",
    "data/index.py: The shard … cannot",
    "data/manifest.py: … cannot be read", "flags.py", "inference/metrics.py", "inference/submission.py: … photos have",
    "inference/submission.py: Two photos", "model/hub.py", "model/hub_preset.py", "model/torch_file.py",
    "model/weights.py", "packing/contents.py", "packing/index.py", "packing/install.py", "packing/own_wheel.py",
    "workers.py",
}  # fmt: skip


def text_of(node: ast.expr) -> str:
    """The text of an error, with … for a value and the name of what all errors of a module advise."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(value) for value in node.values)
    if isinstance(node, ast.FormattedValue) and isinstance(node.value, ast.Name) and node.value.id == "ADVICE":
        return "again"
    if isinstance(node, ast.BinOp):
        return text_of(node.left) + text_of(node.right)
    return SHOWN


def texts() -> list[str]:
    """FILE: TEXT of every error that advises so."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and node.args and getattr(node.func, "id", "") in ERRORS):
                continue
            if ADVISED.search(text := text_of(node.args[0])):
                found.append(f"{path.relative_to(PACKAGE).as_posix()}: {text}")
    return found


def listed(text: str) -> list[str]:
    return [known for known in (*FOLLOWED, *OUTSIDE) if text.startswith(known)]


def test_every_text_is_listed_once():
    assert [text for text in texts() if len(listed(text)) != 1] == []


@pytest.mark.parametrize("known", sorted({*FOLLOWED, *OUTSIDE}))
def test_no_text_is_listed_that_is_gone(known):
    assert any(text.startswith(known) for text in texts())


@pytest.mark.parametrize("test", sorted(set(FOLLOWED.values())))
def test_the_tests_that_follow_exist(test):
    path, name = test.split("::")
    assert re.search(rf"^def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
