"""How much memory is free."""

from pathlib import Path

import psutil

from carclf.control_groups import V1, V2, control_groups

# Of a control group: the files of limit and usage, and what memory.stat calls cached files.
NAMES = {
    V2: ("memory.max", "memory.current", "inactive_file"),
    V1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def free_memory() -> int:
    """Returns how many bytes this process may still take: of the machine, and of each control group that it is in."""
    free = psutil.virtual_memory().available
    for version, folder in control_groups("memory"):
        limit_file, used_file, cached = NAMES[version]
        try:
            limit, used = (int(_read(folder / name)) for name in (limit_file, used_file))
            # The system counts files that were read as used, and gives their memory to whoever needs it.
            used -= int(dict(line.split() for line in _read(folder / "memory.stat").splitlines())[cached])
            free = min(free, max(limit - used, 0))
        except (OSError, ValueError, KeyError):  # it has no limit ("max")
            continue
    return free


def _read(path: Path) -> str:
    return path.read_text(encoding="ascii")
