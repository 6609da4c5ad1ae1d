"""How much memory is free."""

import os

import psutil

# Of control groups, version 2 and 1: folder, files of limit and usage, and what memory.stat calls cached files.
GROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def free_memory() -> int:
    """Returns how many bytes this process may still take, within the machine's limit and its container's, if any."""
    free = psutil.virtual_memory().available
    for folder, limit_file, used_file, cached in GROUPS:
        try:
            limit, used = (int(_read(folder, name)) for name in (limit_file, used_file))
            # The system counts files that were read as used, and gives their memory to whoever needs it.
            used -= int(dict(line.split() for line in _read(folder, "memory.stat").splitlines())[cached])
            free = min(free, limit - used)
        except (OSError, ValueError, KeyError):  # no container, or one without a limit ("max")
            continue
    return free


def _read(folder: str, name: str) -> str:
    with open(os.path.join(folder, name), encoding="ascii") as file:
        return file.read()
