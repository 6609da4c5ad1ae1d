"""The package index, asked and read through pip: for another Python than this one, wheels only."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from carclf import preemption
from carclf.children import run_module
from carclf.errors import UserError
from carclf.packing.target import PLATFORMS, Target
from carclf.packing.wheel_plan import Release
from carclf.scratch import scratch_folder

QUIET = ("--quiet", "--disable-pip-version-check", "--no-input")
PATIENCE = ("--retries=2", "--timeout=20")
_NONE = re.compile(r"No matching distribution found for ([A-Za-z0-9][\w.-]*)")
_UNREACHABLE = re.compile(
    r"Retrying \(|Failed to establish a new connection|Name or service not known|Temporary failure in name resolution|"
    r"Network is unreachable|Connection refused|Max retries exceeded|ConnectTimeout|ReadTimeout|ProxyError|SSLError"
)


class PipIndex:
    """The index that pip is configured for, as seen from a target.

    Args:
      target: the machine that the wheels are for.
    """

    def __init__(self, target: Target) -> None:
        self._target = target

    def newest(self, requirements: Sequence[str]) -> list[Release]:
        """Returns the newest release that has a wheel for each requirement; nothing that it requires is asked for.

        Raises:
          LookupError: there is none for one of them, whose name it holds.
          UserError: the index cannot be reached, or pip is missing or too old.
        """
        with scratch_folder() as folder:
            report = folder / "report.json"
            self._pip(
                "install", "--dry-run", "--ignore-installed", f"--report={report}", f"--target={folder}/none",
                *requirements,
            )  # fmt: skip
            return [_release(entry) for entry in json.loads(report.read_text(encoding="utf-8"))["install"]]

    def download(self, releases: Sequence[Release], folder: Path) -> None:
        """Writes the wheels of releases into a folder, each compared with its hash.

        Raises:
          UserError: one is not there, or the index cannot be reached.
        """
        if not releases:
            return
        lines = [f"{one.name}=={one.version} --hash=sha256:{one.sha256}\n" for one in releases]
        with scratch_folder() as scratch:
            wanted = scratch / "wheels.txt"
            wanted.write_text("".join(lines), encoding="utf-8")
            try:
                self._pip("download", "--require-hashes", f"--requirement={wanted}", f"--dest={folder}")
            except LookupError as error:
                raise UserError(f"The index no longer has the wheel of {error.args[0]}: pack again.") from None

    def _pip(self, command: str, *arguments: str) -> None:
        platforms = [f"--platform={platform}" for platform in PLATFORMS]
        answer = run_module(
            "pip", command, *QUIET, *PATIENCE, "--no-deps", "--only-binary=:all:", "--implementation=cp",
            f"--python-version={self._target.python}", *platforms, *arguments,
        )  # fmt: skip
        if answer.returncode < 0:  # it was perhaps told to stop together with this process
            preemption.check_soon()
        if answer.returncode:
            raise _failure(answer.stderr)


def _release(entry: dict[str, Any]) -> Release:
    about = entry["metadata"]
    return Release(
        name=canonicalize_name(about["name"]),
        version=about["version"],
        requirements=about.get("requires_dist", ()),
        sha256=entry["download_info"]["archive_info"]["hashes"]["sha256"],
    )


def _failure(said: str) -> Exception:
    """Returns the error that pip's words stand for."""
    if "No module named pip" in said:
        return UserError("Python has no pip here, which fetches the wheels: install it with python -m ensurepip.")
    if "no such option" in said:
        return UserError("pip is too old to plan wheels: update it with python -m pip install --upgrade pip.")
    if _UNREACHABLE.search(said):
        return UserError(
            "The package index cannot be reached, and the pack needs wheels from it: run carclf.pack on a machine with "
            "internet access; nothing was written."
        )
    if match := _NONE.search(said):
        return LookupError(canonicalize_name(match[1]))
    errors = [line.removeprefix("ERROR: ").strip() for line in said.splitlines() if line.startswith("ERROR:")]
    lines = errors or [line.strip() for line in said.splitlines() if line.strip()] or ["no reason given"]
    return UserError(f"pip could not fetch the wheels ({lines[-1].rstrip('.')}): pack again.")
