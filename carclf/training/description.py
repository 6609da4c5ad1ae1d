"""What stage.json says: everything that is needed to understand a run, or to do it again."""

import dataclasses
import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from carclf import __version__, runs
from carclf.training.device import Device
from carclf.training.growth import Phase


def describe_stage(
    *,
    name: str,
    options: Mapping[str, Any],
    device: Device,
    data: Mapping[str, Any],
    phases: Sequence[Phase],
    parent: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What stage.json holds: everything that is needed to understand the run, or to do it again."""
    return {
        "format_version": runs.FORMAT_VERSION,
        "stage": name,
        "options": dict(options),
        "device": {
            "kind": device.kind,
            "backend": device.backend,
            "replicas": device.replicas,
            "precision": device.precision,
            "jit": device.jit,
        },
        "versions": _versions(),
        "git_commit": _git_commit(),
        "data": dict(data),
        "phases": [dataclasses.asdict(phase) for phase in phases],
        "parent": None if parent is None else dict(parent),
    }


def _versions() -> dict[str, str]:
    packages = ("tensorflow", "tensorflow-cpu", "keras", "jax", "numpy", "pandas", "pillow")
    versions = {"carclf": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _git_commit() -> str | None:
    """The commit of the clone that runs, or None for an installed package."""
    clone = Path(__file__).resolve().parents[2]
    if not (clone / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "-C", str(clone), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
