"""Imports only go down, and each room needs only the frameworks it may."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "carclf"

# The floors of the house, from the ground up: a module may import from lower floors and its own room.
FLOORS: tuple[tuple[str, ...], ...] = (
    (
        "__init__",
        "registration",
        "errors",
        "arguments",
        "extras",
        "tables",
        "flags",
        "framing",
        "train_options",
        "prediction_options",
        "files",
        "storage",
        "distinct_files",
        "lock",
        "lease",
        "preemption",
        "children",
        "streams",
        "schema",
        "scratch",
        "path_lists",
        "text_file",
        "wording",
        "hashed_json",
        "progress",
        "control_groups",
        "workers",
        "onednn",
        "start_messages",
        "optional_packages",
        "device",
        "command",
        "stage_lists",
        "advice",
        "recipe",
        "forms",
        "metrics",
    ),
    ("convert", "data", "engines", "model", "runs", "synthetic"),
    ("inference", "training"),
    ("report", "exporting", "serving", "tuning", "probing", "planning", "averaging", "packing", "api"),
    (
        "__main__",
        "train",
        "predict",
        "evaluate",
        "explore",
        "export",
        "serve",
        "sample",
        "tune",
        "probe",
        "soup",
        "pack",
        "make_tfrecords",
    ),
)
# On the ground floor, which has no rooms, the order is finer.
GROUND = {
    "__init__": {"preemption", "registration"},
    "registration": set(),
    "errors": set(),
    "arguments": {"errors", "framing", "tables"},
    "extras": set(),
    "tables": set(),
    "flags": {"errors", "schema", "storage", "tables"},
    "framing": {"errors"},
    "train_options": {"errors", "flags", "framing", "tables"},
    "prediction_options": {"flags", "train_options"},
    "files": set(),
    "wording": set(),
    "storage": {"errors", "extras", "files", "lock", "progress", "scratch"},
    "distinct_files": {"errors", "storage"},
    "lock": {"errors", "preemption"},
    "lease": {"errors", "lock", "preemption", "storage"},
    "preemption": {"errors", "files", "start_messages"},
    "children": {"errors", "preemption"},
    "streams": set(),
    "schema": set(),
    "scratch": set(),
    "path_lists": set(),
    "text_file": {"errors"},
    "hashed_json": {"files"},
    "progress": {"preemption", "streams"},
    "control_groups": set(),
    "workers": {"control_groups", "errors", "preemption", "scratch"},
    "onednn": set(),
    "start_messages": set(),
    "optional_packages": set(),
    "device": {"errors", "extras", "onednn", "optional_packages", "progress", "start_messages"},
    "command": {"errors", "extras", "flags", "path_lists", "preemption", "storage", "streams", "text_file"},
    "advice": {"command", "device", "extras", "stage_lists"},
    "stage_lists": {"command", "errors", "path_lists"},
    "recipe": {"arguments", "errors", "framing"},
    "forms": {"errors", "storage", "text_file", "wording"},
    "metrics": {"errors", "forms"},
}
# The converter writes shards in the record format of the data room.
SIDEWAYS = {("convert", "data")}
# Training ends with the best weights; the command calls what evaluates them.
TRAINS = {"training", "train", "tune", "probe", "probing"}
FORBIDDEN_FRAMEWORKS = {
    "recipe": {"tensorflow", "keras", "jax"},
    "model": {"tensorflow", "jax"},
    "data": {"keras", "jax"},
    "engines": {"jax"},
    "convert": {"tensorflow", "keras", "jax"},
    "forms": {"tensorflow", "keras", "jax"},
    "metrics": {"tensorflow", "keras", "jax"},
}
ALLOWED_LAZY = {
    ("carclf/model/compile.py", "tensorflow"),
    ("carclf/model/compile.py", "jax"),
    ("carclf/model/fused_adam.py", "tensorflow"),
}
HEAVY = {"tensorflow", "keras", "jax", "pandas", "matplotlib", "numpy", "PIL"}


def imports_of(path: Path) -> Iterator[tuple[str, bool]]:
    """Yields (imported module, whether the import runs when the module is imported) for each import of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            names = [f"{base}.{alias.name}" if base == "carclf" else base for alias in node.names]
        else:
            continue
        for name in names:
            yield name, node in tree.body


def room_of(module: str) -> str:
    parts = module.split(".")
    is_module = len(parts) > 1 and any((PACKAGE / name).exists() for name in (parts[1], f"{parts[1]}.py"))
    return parts[1] if is_module else "__init__"


def floor_of(room: str) -> int:
    for number, rooms in enumerate(FLOORS):
        if room in rooms:
            return number
    raise AssertionError(f"carclf/{room} has no floor yet: add it to FLOORS in {Path(__file__).name}")


def files() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of_file(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def violation(room: str, imported: str) -> str | None:
    """Returns what is wrong if a file of `room` imports from the room `imported`, or None."""
    if room == imported or imported == "__init__":
        return None
    here, there = floor_of(room), floor_of(imported)
    if here == 0 and imported not in GROUND[room]:
        return f"{room} imports {imported}, which does not lie below it"
    if imported == "training" and room not in TRAINS:
        return f"{room} imports training, which only what fits a head may"
    if there > here:
        return f"{room} imports {imported} from a floor above"
    if there == here and here > 0 and (room, imported) not in SIDEWAYS and here != len(FLOORS) - 1:
        return f"{room} imports its neighbour {imported}"
    if there == here == len(FLOORS) - 1:
        return f"the command {room} imports the command {imported}"
    return None


@pytest.mark.parametrize("path", files(), ids=relative)
def test_imports_go_down_only(path):
    # The public names come from all floors: they are named there for type checkers and imported when first used.
    found = [
        name
        for name, at_import in imports_of(path)
        if name.split(".")[0] == "carclf" and (at_import or path != PACKAGE / "__init__.py")
    ]
    wrong = [text for name in found if (text := violation(room_of_file(path), room_of(name)))]
    assert wrong == []


@pytest.mark.parametrize("path", files(), ids=relative)
def test_rooms_import_only_their_frameworks(path):
    forbidden = FORBIDDEN_FRAMEWORKS.get(room_of_file(path), set())
    found = {
        (name.split(".")[0], at_import)
        for name, at_import in imports_of(path)
        if name.split(".")[0] in forbidden
        and not (not at_import and (relative(path), name.split(".")[0]) in ALLOWED_LAZY)
    }
    assert found == set()


@pytest.mark.parametrize("command", ["api", *FLOORS[-1]])
def test_doors_import_nothing_heavy_before_their_flags_are_parsed(command):
    program = f"import sys, carclf.{command}; print(sorted({HEAVY!r} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert answer.stdout.strip() == "[]"


def test_no_module_is_called_utils():
    assert [relative(path) for path in files() if "util" in path.stem] == []


@pytest.mark.parametrize(
    ("room", "imported"),
    [
        ("data", "model"),
        ("engines", "inference"),
        ("model", "engines"),
        ("model", "data"),
        ("recipe", "train_options"),
        ("flags", "runs"),
        ("data", "inference"),
        ("inference", "training"),
        ("predict", "training"),
        ("report", "training"),
        ("tuning", "training"),
        ("training", "inference"),
        ("training", "report"),
        ("runs", "data"),
        ("training", "train"),
        ("train", "predict"),
        ("api", "training"),
    ],
)
def test_a_wrong_import_is_found(room, imported):
    assert violation(room, imported) is not None


@pytest.mark.parametrize(
    ("room", "imported"),
    [
        ("train", "report"),
        ("train", "training"),
        ("training", "runs"),
        ("report", "inference"),
        ("convert", "data"),
        ("train", "command"),
    ],
)
def test_a_right_import_is_not(room, imported):
    assert violation(room, imported) is None
