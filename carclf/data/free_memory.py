"""How much memory is free."""

import os
from collections.abc import Iterator
from pathlib import Path

import psutil

PROC = Path("/proc/self")
# Of control groups, by the type of their file system (version 2 and 1): the files of limit and usage, and what
# memory.stat calls cached files.
NAMES = {
    "cgroup2": ("memory.max", "memory.current", "inactive_file"),
    "cgroup": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def free_memory() -> int:
    """Returns how many bytes this process may still take: of the machine, and of each control group that it is in.

    Containers, systemd and SLURM set their limits by control groups.
    """
    free = psutil.virtual_memory().available
    for folder, (limit_file, used_file, cached) in _control_groups():
        try:
            limit, used = (int(_read(folder / name)) for name in (limit_file, used_file))
            # The system counts files that were read as used, and gives their memory to whoever needs it.
            used -= int(dict(line.split() for line in _read(folder / "memory.stat").splitlines())[cached])
            free = min(free, max(limit - used, 0))
        except (OSError, ValueError, KeyError):  # it has no limit ("max")
            continue
    return free


def _control_groups() -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """Yields folder and `NAMES` of each control group of this process: the innermost and all around it.

    Source: cgroups(7) and proc_pid_mountinfo(5).
    """
    try:
        groups, mounts = _read(PROC / "cgroup").splitlines(), _read(PROC / "mountinfo").splitlines()
    except OSError:  # the system has no control groups
        return
    path_of = {name: path for _, names, path in (line.split(":", 2) for line in groups) for name in names.split(",")}
    for line in mounts:
        mount, _, file_system = line.partition(" - ")
        root, place = mount.split()[3:5]
        kind, _, options = file_system.split()[:3]
        controller = "" if kind == "cgroup2" else "memory"
        if kind not in NAMES or controller not in path_of or controller not in ["", *options.split(",")]:
            continue
        inner = os.path.relpath(path_of[controller], root)
        if inner.startswith(".."):  # a container that knows its path outside, but has its own group at the root
            inner = "."
        folder = Path(place, inner)
        for group in (folder, *folder.parents):
            yield group, NAMES[kind]
            if group == Path(place):
                break


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
