"""Checks this folder and installs carclf from it, without internet: `python install.py`. Standard library only.

Every file is compared with its SHA-256 in pack.json. Then pip adds carclf and the packages that are missing here;
none that is already here changes. `--check` only compares.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

PACK_FILE = "pack.json"
PYTHONS = ("3.11", "3.12", "3.13")  # those that carclf runs on
HASH_KEY = "content_sha256"
FORMAT_VERSION = 1
USAGE_ERROR = 2
# What sites and file managers leave in a folder; nothing reads them.
LEFT_BY_OTHERS = frozenset({".DS_Store", "desktop.ini", "Thumbs.db", "dataset-metadata.json"})
# Extras that bring a framework: TensorFlow has several names, so their wheels are named one by one.
BACKENDS = frozenset({"cpu", "gpu", "tpu", "jax"})
AGAIN = "upload the pack again, or make it again with python -m carclf.pack"


class Refusal(Exception):  # noqa: N818  it ends as a sentence, not as a traceback
    """What is wrong, in one sentence."""


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 0 once carclf is installed, 2 after one sentence that says why it is not."""
    folder = os.path.dirname(os.path.abspath(__file__))
    try:
        if set(arguments) - {"--check"}:
            raise Refusal("install.py has no option but --check, which only compares the files: start it without any.")
        pack = read_pack(folder)
        if "--check" not in arguments:
            check_machine(pack)
        check_files(folder, pack)
        if "--check" in arguments:
            print(f"All {len(pack['files']) + 1} files of {folder} are whole.")
        else:
            print(install(folder, pack))
    except Refusal as refusal:
        print(f"Error: {refusal}", file=sys.stderr)
        return USAGE_ERROR
    return 0


def read_pack(folder: str) -> dict[str, Any]:
    """Returns the content of pack.json, after comparing its own hash.

    Raises:
      Refusal: it is missing, damaged or of another format.
    """
    path = os.path.join(folder, PACK_FILE)
    try:
        with open(path, "rb") as file:
            content: dict[str, Any] = json.loads(file.read().decode("utf-8"))
        found = content.pop(HASH_KEY)
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        if hashlib.sha256(text.encode()).hexdigest() != found:
            raise ValueError("its SHA-256 differs")
    except FileNotFoundError:
        raise Refusal(f"{path} is missing: {AGAIN}.") from None
    except OSError as error:
        raise Refusal(f"{path} cannot be read ({error.strerror}): make it readable, or {AGAIN}.") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = "it has no hash" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise Refusal(f"{path} is damaged ({reason}): {AGAIN}.") from None
    if content.get("format_version") != FORMAT_VERSION:
        raise Refusal(f"{path} was written by another version of carclf: start the install.py that came with it.")
    return content


def check_machine(pack: dict[str, Any]) -> None:
    """Checks that this Python and this system are those of the pack.

    Raises:
      Refusal: one is not.
    """
    here = ".".join(map(str, sys.version_info[:2]))
    if here != pack["python"]:
        other = f", or make the pack again with --python={here}" if here in PYTHONS else ""
        raise Refusal(
            f"This pack is for Python {pack['python']} and {sys.executable} is Python {here}: start install.py with "
            f"Python {pack['python']}{other}."
        )
    system = f"{platform.system()} {platform.machine()}"
    if system != pack["system"]:
        raise Refusal(f"This pack is for {pack['system']} and this machine is {system}: install it on such a machine.")


def check_files(folder: str, pack: dict[str, Any]) -> None:
    """Checks that the folder holds what was packed, each file with its hash, and nothing else.

    Raises:
      Refusal: a file is missing, damaged or foreign; it is named.
    """
    there = set(files_in(folder)) - {PACK_FILE}
    missing = sorted(set(pack["files"]) - there)
    if missing:
        raise Refusal(f"{place_of(folder, missing[0])} is missing: {AGAIN}.")
    foreign = sorted(name for name in there - set(pack["files"]) if name.rpartition("/")[2] not in LEFT_BY_OTHERS)
    if foreign:
        raise Refusal(f"{place_of(folder, foreign[0])} is not a file of this pack: remove it, or {AGAIN}.")
    for name, wanted in sorted(pack["files"].items()):
        path = place_of(folder, name)
        try:
            found = sha256_of(path)
        except OSError as error:
            raise Refusal(f"{path} cannot be read ({error.strerror}): make it readable, or {AGAIN}.") from None
        if found != wanted:
            raise Refusal(f"{path} is damaged (its SHA-256 differs): {AGAIN}.")


def place_of(folder: str, name: str) -> str:
    """Returns the path of a file of the pack."""
    return os.path.join(folder, *name.split("/"))


def files_in(folder: str) -> list[str]:
    """Returns the name of every file below a folder, with slashes; a link to a folder counts as a file."""
    found = []
    for place, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in names + links:
            found.append(os.path.relpath(os.path.join(place, name), folder).replace(os.sep, "/"))
    return found


def sha256_of(path: str) -> str:
    """Returns the hash of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def install(folder: str, pack: dict[str, Any]) -> str:
    """Installs carclf and what is missing here; returns the sentence that says so.

    Raises:
      Refusal: pip is missing, or the pack and this machine do not fit each other.
    """
    here = installed()
    missing = [package for package in pack["packages"] if not here.keys() & set(package["stands_for"])]
    wheels = [place_of(folder, f"wheels/{package['wheel']}") for package in missing]
    own = place_of(folder, f"wheels/{pack['wheel']}")
    named = [extra for extra in pack["extras"] if extra not in BACKENDS]
    extras = f"[{','.join(named)}]" if named else ""
    with tempfile.TemporaryDirectory() as scratch:
        constraints = os.path.join(scratch, "installed.txt")
        with open(constraints, "w", encoding="utf-8") as file:
            file.write("".join(f"{name}=={version}\n" for name, version in sorted(here.items())))
        # First what it would do: what carclf and the wheels require has to be here or in the pack, and nothing moves.
        run_pip(folder, "--dry-run", "--constraint", constraints, own + extras, *wheels)
    run_pip(folder, "--no-deps", "--force-reinstall", own, *wheels)
    added = ", ".join(f"{package['name']} {package['version']}" for package in missing)
    return f"carclf {pack['carclf']} is installed{', with ' + added if added else ''}; no other package changed."


def installed() -> dict[str, str]:
    """Returns the version of each package here but carclf, by its normalised name."""
    import importlib.metadata as metadata  # Python 3.8; an older one is refused before

    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name, version = distribution.metadata["Name"], distribution.version
        if name and version and re.fullmatch(r"[\w.!+-]+", version):
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)  # the first on the path is imported
    found.pop("carclf", None)
    return found


def run_pip(folder: str, *arguments: str) -> None:
    """Lets pip install from the wheels of the folder alone.

    Raises:
      Refusal: it did not.
    """
    shared = ("--no-index", "--find-links", os.path.join(folder, "wheels"), "--quiet", "--no-input")
    command = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", *shared, *arguments)
    # Settings of the machine, such as another index or other constraints, do not count.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment["PIP_CONFIG_FILE"] = os.devnull
    answer = subprocess.run(command, capture_output=True, env=environment, check=False)
    if answer.returncode == 0:
        return
    said = answer.stderr.decode("utf-8", "replace")
    if "No module named pip" in said:
        raise Refusal("This Python has no pip: install it with python -m ensurepip, and start install.py again.")
    errors = [line for line in said.splitlines() if line.startswith("ERROR:")] or said.splitlines()[-1:] or [""]
    reason = " ".join(errors[0].replace("ERROR:", "", 1).split()).rstrip(".")
    raise Refusal(
        f"pip cannot install the pack here ({reason or 'it gave no reason'}): write what pip list --format=freeze "
        "prints here into a file, and make the pack again with --image=FILE."
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
