"""docs/: a whole index, tables that follow the code, error sentences that are the program's, an example that works."""

import ast
import re
from pathlib import Path

import pytest

from carclf.recipe import RECIPES, signature

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_the_index_links_every_page():
    linked = re.findall(r"^\| \[([\w.]+)\]\(\1\) \|", page("README.md"), flags=re.MULTILINE)
    assert sorted(linked) == sorted(path.name for path in DOCS.glob("*.md") if path.name != "README.md")


@pytest.mark.parametrize("name", sorted(path.name for path in DOCS.glob("*.md")))
def test_no_link_leads_nowhere(name):
    targets = re.findall(r"\]\(([^):#]+)[^):]*\)", page(name))
    assert [target for target in targets if not (DOCS / target).is_file()] == []


def test_the_table_of_operations_is_that_of_the_code():
    rows = [f"| `{signature(name, row.arguments)}` | {row.summary} | {row.chance:g} |" for name, row in RECIPES.items()]
    assert "| --- | --- | --- |\n" + "\n".join(rows) + "\n\n" in page("recipes.md")


def texts_of_the_source() -> list[str]:
    """Every string of the package, with `…` in place of what is filled in."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "carclf").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    plain = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    filled = [
        "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        for node in nodes
        if isinstance(node, ast.JoinedStr)
    ]
    return plain + filled


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
