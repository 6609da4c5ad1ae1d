"""Every error text is listed with the test that does what it advises, or with the reason why no test can."""

import ast
import configparser
import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from listing import FOLLOWED, INSTALLED, OUTSIDE, PASSED_ON, PLAIN, REMARKS
from packaging.requirements import Requirement
from texts import remarks, texts

from carclf.storage.packages import PACKAGES

ROOT = Path(__file__).parent.parent.parent
BEGINNING = re.compile(r"[\w/]+\.py: ")


def followed_here() -> set[str]:
    """The beginnings of texts that tests in this folder name, and follow."""
    files = sorted(Path(__file__).parent.glob("test_*.py"))
    nodes = itertools.chain.from_iterable(ast.walk(ast.parse(path.read_text(encoding="utf-8"))) for path in files)
    found = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {text for text in found if BEGINNING.match(text)}


HERE = followed_here()
ELSEWHERE = [*FOLLOWED, *INSTALLED, *itertools.chain(*OUTSIDE.values())]


def beginning(known: str) -> Callable[[str], bool]:
    """A function that says whether a text begins so."""
    return lambda text: text.startswith(known)


def listed(text: str) -> list[str]:
    """The places that list a text; that several tests of this folder follow it counts as one."""
    if text in PASSED_ON:
        return [text]
    here = [known for known in HERE if text.startswith(known)]
    return [*here[:1], *(known for known in ELSEWHERE if text.startswith(known))]


def test_every_text_is_listed_once():
    assert [text for text in sorted(set(texts())) if len(listed(text)) != 1] == []


def test_no_text_is_listed_that_is_gone():
    assert [known for known in [*HERE, *ELSEWHERE, *PASSED_ON] if not any(map(beginning(known), texts()))] == []


def test_every_remark_is_listed_once_and_none_that_is_gone():
    assert [text for text in remarks() if sum(map(text.startswith, [*REMARKS, *PLAIN])) != 1] == []
    assert [known for known in [*REMARKS, *PLAIN] if not any(map(beginning(known), remarks()))] == []


@pytest.mark.parametrize("test", sorted({*FOLLOWED.values(), *REMARKS.values()}))
def test_the_tests_that_follow_are_there(test):
    path, name = test.split("::")
    assert re.search(rf"^def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize(
    ("extra", "package"), sorted({*INSTALLED.values(), *((one.extra, one.name) for one in PACKAGES.values())})
)
def test_the_extra_brings_the_package(extra, package):
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = setup["options.extras_require"][extra].split("\n")
    assert package in [Requirement(line).name for line in lines if line and not line.startswith("#")]
