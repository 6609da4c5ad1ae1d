"""Free memory is the least that the machine and the control groups leave; cached files count as free."""

import types
from pathlib import Path

import psutil
import pytest

from carclf import control_groups
from carclf.control_groups import V1, V2
from carclf.data.free_memory import NAMES, free_memory

OTHERS = "22 1 0:21 / /proc rw,nosuid shared:5 - proc proc rw\n31 23 0:28 / /sys rw - tmpfs tmpfs rw,mode=755\n"


class Machine:
    """Control groups in a folder, with the files by which /proc/self shows them."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._kind, self._folder = kind, folder
        self.join("/", "/")

    def join(self, path: str, root: str) -> None:
        """Says that this process is in a group; `root` is the group that is mounted."""
        (self._folder / "cgroup").write_text(
            f"0::{path}\n" if self._kind == V2 else f"9:name=systemd:/\n4:cpuset,memory:{path}\n0::/\n"
        )
        options = "rw,nsdelegate" if self._kind == V2 else "rw,memory"
        (self._folder / "mountinfo").write_text(
            f"{OTHERS}35 31 0:32 {root} {self._folder / 'mounted'} rw,relatime - {self._kind} cgroup {options}\n"
        )

    def limit(self, group: str, limit: str, *, used: int, cached: int = 0) -> None:
        limit_file, used_file, cached_name = NAMES[self._kind]
        folder = self._folder / "mounted" / group
        folder.mkdir(parents=True, exist_ok=True)
        (folder / limit_file).write_text(f"{limit}\n")
        (folder / used_file).write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 12\n{cached_name} {cached}\nslab 3\n")


@pytest.fixture(params=[V2, V1])
def machine(request, tmp_path, monkeypatch) -> Machine:
    monkeypatch.setattr(control_groups, "PROC", tmp_path)
    return Machine(request.param, tmp_path)


def test_a_container_has_what_its_limit_leaves(machine):
    machine.limit(".", "1000000", used=900_000)
    assert free_memory() == 100_000
    machine.limit(".", "1000000", used=1_200_000)
    assert free_memory() == 0


def test_the_memory_of_cached_files_is_free(machine):
    machine.limit(".", "1000000", used=900_000, cached=850_000)
    assert free_memory() == 950_000


@pytest.mark.parametrize("group", ["system.slice", "system.slice/job_1", "system.slice/job_1/step_0"])
def test_the_limit_of_any_group_around_the_process_counts(machine, group):
    machine.join("/system.slice/job_1/step_0", "/")
    machine.limit("system.slice", "max", used=0)
    machine.limit("system.slice/job_1", "9000000", used=0)
    machine.limit("system.slice/job_2", "1", used=0)
    machine.limit(group, "1000000", used=900_000)
    assert free_memory() == 100_000


@pytest.mark.parametrize(("path", "root"), [("/docker/1/inner", "/docker/1"), ("/docker/1/inner", "/other")])
def test_a_container_may_know_its_group_by_the_path_outside(machine, path, root):
    machine.join(path, root)
    machine.limit("." if root == "/other" else "inner", "1000000", used=900_000)
    assert free_memory() == 100_000


@pytest.mark.parametrize("limit", ["max", str(2**62)])
def test_without_a_limit_it_is_that_of_the_machine(machine, limit, monkeypatch):
    machine.limit(".", limit, used=900_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=1))
    assert free_memory() == psutil.virtual_memory().available == 1


def test_without_control_groups_it_is_that_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(control_groups, "PROC", tmp_path)
    assert 0 < free_memory() <= psutil.virtual_memory().total
