"""Free memory is that of the machine or of the container, whichever is less; cached files count as free."""

import types

import psutil
import pytest

from carclf.data import free_memory as module
from carclf.data.free_memory import free_memory

V2 = {"limit": "memory.max", "used": "memory.current", "cached": "inactive_file"}
V1 = {"limit": "memory.limit_in_bytes", "used": "memory.usage_in_bytes", "cached": "total_inactive_file"}


@pytest.fixture(params=[V2, V1], ids=["version 2", "version 1"])
def group(request, tmp_path, monkeypatch):
    """Returns a function that makes the control group of this process."""
    names = request.param

    def make(limit: str, *, used: int, cached: int) -> None:
        (tmp_path / names["limit"]).write_text(f"{limit}\n")
        (tmp_path / names["used"]).write_text(f"{used}\n")
        (tmp_path / "memory.stat").write_text(f"anon 12\n{names['cached']} {cached}\nslab 3\n")
        monkeypatch.setattr(module, "GROUPS", ((str(tmp_path), *names.values()),))

    return make


def test_a_container_has_what_its_limit_leaves(group):
    group("1000000", used=900_000, cached=0)
    assert free_memory() == 100_000


def test_the_memory_of_cached_files_is_free(group):
    group("1000000", used=900_000, cached=850_000)
    assert free_memory() == 950_000


@pytest.mark.parametrize("limit", ["max", str(2**62)])
def test_without_a_limit_it_is_that_of_the_machine(group, limit, monkeypatch):
    group(limit, used=900_000, cached=0)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=1))
    assert free_memory() == psutil.virtual_memory().available == 1


def test_without_a_container_it_is_that_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "GROUPS", ((str(tmp_path), *V2.values()),))
    assert 0 < free_memory() <= psutil.virtual_memory().total
