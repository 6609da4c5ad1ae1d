"""What made a run: device, versions and commit, as its stage.json has them."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

from carclf import __version__
from carclf.device import Device


def describe_machine(device: Device) -> dict[str, Any]:
    """Returns what made a run: the entries device, versions and git_commit of its stage.json."""
    return {
        "device": {
            "kind": device.kind,
            "backend": device.backend,
            "replicas": device.replicas,
            "precision": device.precision,
            "jit": device.jit,
            "onednn": device.onednn,
        },
        "versions": _versions(),
        "git_commit": _git_commit(),
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
    """Returns the commit of the clone in use, or None for an installed package."""
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
