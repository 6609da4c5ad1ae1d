"""The control groups by which containers, systemd and SLURM limit what a process may use on Linux."""

import os
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc/self")
V1, V2 = "cgroup", "cgroup2"  # the types of their file systems


def control_groups(controller: str) -> Iterator[tuple[str, Path]]:
    """Yields (V1 or V2, folder) of each control group that this process is in, the innermost first; perhaps none.

    The limits of each apply. A group of version 2 may lack the controller's files.

    Args:
      controller: 'memory' or 'cpu'.

    Source: cgroups(7) and proc_pid_mountinfo(5).
    """
    try:
        groups, mounts = ((PROC / name).read_text(encoding="utf-8").splitlines() for name in ("cgroup", "mountinfo"))
    except OSError:  # the system has no control groups
        return
    path_of = {name: path for _, names, path in (line.split(":", 2) for line in groups) for name in names.split(",")}
    for line in mounts:
        mount, _, file_system = line.partition(" - ")
        root, place = mount.split()[3:5]
        kind, _, options = file_system.split()[:3]
        if kind == V2:
            path = path_of.get("")
        elif kind == V1 and controller in options.split(","):
            path = path_of.get(controller)
        else:
            continue
        if path is not None:
            yield from ((kind, folder) for folder in _with_parents(Path(place), os.path.relpath(path, root)))


def _with_parents(place: Path, inner: str) -> list[Path]:
    """Returns the folder `inner` of `place`, and all above it, up to `place`."""
    if inner.startswith(".."):  # a container that knows its path outside has its own group at the root
        return [place]
    parts = Path(inner).parts
    return [place.joinpath(*parts[:count]) for count in range(len(parts), -1, -1)]
