"""docs/: a complete index, tables that match the code, names and errors that exist, and a working example."""

import ast
import re
from pathlib import Path

import pytest
from shown_commands import PAGES
from test_imports import FLOORS

from carclf.recipe import RECIPES, signature

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
NOTEBOOKS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "notebooks").glob("*.ipynb"))


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_the_index_links_every_page():
    linked = re.findall(r"^\| \[([\w.]+)\]\(\1\) \|", page("README.md"), flags=re.MULTILINE)
    assert sorted(linked) == sorted(path.name for path in DOCS.glob("*.md") if path.name != "README.md")


@pytest.mark.parametrize("name", sorted(path.name for path in DOCS.glob("*.md")))
def test_no_link_leads_nowhere(name):
    targets = re.findall(r"\]\(([^):#]+)[^):]*\)", page(name))
    assert [target for target in targets if not (DOCS / target).is_file()] == []


# `carclf/model/render.py`, `stages/notebook_*.flags`, `tests/x.py::test_y`: a file, a folder or a pattern.
NAMED_FILE = re.compile(r"`((?:tools|stages|tests|carclf|benchmarks|docs|notebooks)/[\w./*-]*)(?:::\w+)?`")
# `carclf.model.grad_cam.build_grad_cam`: a module, or something in one.
NAMED_OBJECT = re.compile(r"`(carclf(?:\.\w+)+)`")


@pytest.mark.parametrize("name", PAGES)
def test_the_files_that_a_page_names_are_there(name):
    named = [path for path in NAMED_FILE.findall(PAGES[name]) if path != "stages/NAME.flags"]
    assert [path for path in named if not list(ROOT.glob(path))] == []


# `python benchmarks/x.py --flag=value`, or in a later row of the table the same with `--flag=value`.
BENCHMARK = re.compile(r"`(?:\w+=\w+ )?python benchmarks/(\w+)\.py([^`]*)`|the same with `([^`]*)`")


@pytest.mark.parametrize("name", PAGES)
def test_the_flags_of_a_benchmark_that_a_page_names_exist(name):
    script, unknown = "", []
    for named, flags, more in BENCHMARK.findall(PAGES[name]):
        script = named or script
        shown = re.findall(r"--(\w+)", flags or more)
        known = benchmark_flags(script)
        unknown += [
            f"{script} --{flag}" for flag in shown if flag not in known and flag.removeprefix("no") not in known
        ]
    assert unknown == []


def benchmark_flags(script: str) -> set[str]:
    """Returns the names of the options of a script of benchmarks/, those that it inherits from another included."""
    classes = {}
    for path in (ROOT / "benchmarks").glob("*.py"):
        nodes = ast.parse(path.read_text(encoding="utf-8")).body
        classes |= {node.name: node for node in nodes if isinstance(node, ast.ClassDef) and "Options" in node.name}

    def fields(node: ast.ClassDef) -> set[str]:
        bases = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
        inherited = [fields(classes[base]) for base in bases if base in classes]
        own = {item.target.id for item in node.body if isinstance(item, ast.AnnAssign)}
        refused = [item for item in node.body if isinstance(item, ast.Assign) and item.targets[0].id == "refused"]
        return set().union(own, *inherited) - {name for item in refused for name in ast.literal_eval(item.value)}

    (own,) = re.findall(
        r"^class (\w*Options)\(", (ROOT / "benchmarks" / f"{script}.py").read_text(), flags=re.MULTILINE
    )
    return fields(classes[own])


@pytest.mark.parametrize("name", PAGES)
def test_the_objects_that_a_page_names_are_there(name):
    assert [named for named in NAMED_OBJECT.findall(PAGES[name]) if not is_there(named)] == []


def is_there(dotted: str) -> bool:
    """Returns whether the dotted name is a module of the package, or is defined in one."""
    *parents, last = dotted.split(".")
    folder, outer = ROOT.joinpath(*parents), ROOT.joinpath(*parents).with_suffix(".py")
    if (folder / f"{last}.py").is_file() or (folder / last).is_dir():
        return True
    source = outer if outer.is_file() else folder / "__init__.py"
    return source.is_file() and re.search(rf"\b{last}\b", source.read_text(encoding="utf-8")) is not None


def test_names_are_looked_for_where_they_are_defined():
    assert is_there("carclf.model.grad_cam.build_grad_cam")
    assert is_there("carclf.train")
    assert is_there("carclf.model")
    assert not is_there("carclf.model.grad_cam.build_heat")
    assert not is_there("carclf.training.averaging")


# Words for which the glossary of architecture.md has others.
OUR_OWN_WORDS = re.compile(r"\b(?:anew|goe?s? on|paced|likeness|lineage|mend\w*|(?:images|photos|requests) an? \w+)\b")


@pytest.mark.parametrize("name", [*PAGES, *NOTEBOOKS])
def test_a_page_uses_the_words_of_the_field(name):
    text = PAGES[name] if name in PAGES else (ROOT / name).read_text(encoding="utf-8")
    prose = re.sub(r"`[^`\n]*`", "", text)  # the program's own output is quoted unchanged
    assert OUR_OWN_WORDS.findall(prose) == []


def test_the_proofs_of_the_promises_exist():
    """A row names its first test with the file, and further tests of that file without it."""
    proofs = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`((?:, `test_\w+`)*)", page("promises.md"))
    tests = [(file, test) for file, first, more in proofs for test in (first, *re.findall(r"`(test_\w+)`", more))]
    assert len(tests) > 40
    assert len(tests) == len(re.findall(r"[`:]test_\w+`", page("promises.md")))
    sources = {file: (ROOT / file).read_text(encoding="utf-8") for file, _ in tests}
    assert [(file, test) for file, test in tests if f"def {test}(" not in sources[file]] == []


def test_the_floors_are_those_that_the_imports_keep():
    floors = page("architecture.md").partition("## Floors")[2].partition("\n## ")[0]
    listed = {path.strip("/").removesuffix(".py") for path in re.findall(r"`carclf/([\w/]+(?:\.py)?)`", floors)}
    ground, *others = FLOORS
    wanted = {*ground, *(name for floor in others for name in floor)} - {"__init__", "__main__"}
    assert listed == wanted


def test_the_lowest_versions_are_those_of_the_metadata():
    (versions,) = re.findall(r"^Lowest versions: (.*)", page("architecture.md"), flags=re.MULTILINE)
    metadata = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    for name, low, high in re.findall(r"(\w+) ([\d.]*\d)(?: \(below ([\d.]*\d)\))?", versions):
        wanted = {"Python": "python_requires = ", "TensorFlow": "tensorflow-cpu", "Keras": "keras", "JAX": "jax"}[name]
        assert f"{wanted}>={low}{f',<{high}' if high else ''}" in metadata


def test_the_table_of_operations_is_that_of_the_code():
    rows = [f"| `{signature(name, row.arguments)}` | {row.summary} | {row.chance:g} |" for name, row in RECIPES.items()]
    assert "| --- | --- | --- |\n" + "\n".join(rows) + "\n\n" in page("recipes.md")


def texts_of_the_source() -> list[str]:
    """Returns every string of the package, with `…` in place of filled-in values."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "carclf").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    plain = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    filled = [
        "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        for node in nodes
        if isinstance(node, ast.JoinedStr)
    ]
    return plain + filled


def test_the_paths_that_may_be_urls_are_those_of_the_program():
    options = [
        node.target.id
        for path in (ROOT / "carclf").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(node.value, ast.Call)
        and any(word.arg == "urls" for word in node.value.keywords)
    ]  # fmt: skip
    assert len(options) > 20
    rows = [line for line in page("storage.md").splitlines() if line.startswith("| `--")]
    assert {name for name in options if not any(f"`--{name}`" in row for row in rows)} == set()


def test_the_error_sentences_are_those_of_the_program():
    quoted = re.findall(r"^\| `(.*?)` \| ", page("troubleshooting.md"), flags=re.MULTILINE)
    assert len(quoted) > 20
    texts = texts_of_the_source()
    assert [sentence for sentence in quoted if not any(sentence in text for text in texts)] == []


def test_the_row_of_the_example_makes_a_backbone():
    from carclf.model import backbones

    (example,) = re.findall(r"```python\n(.*?)```", page("adding_a_backbone.md"), flags=re.DOTALL)
    row = eval(example, vars(backbones).copy())
    assert row.name not in backbones.BACKBONES
    backbone = backbones.build_backbone(row, image_size=(64, 96))
    assert backbone.output_shape == (None, 2, 3, 960)
    blocks = backbones.split_blocks(backbone, row)
    assert all(any(layer.weights for layer in block) for block in blocks)
    assert sum(map(len, blocks)) == len(backbone.layers)
