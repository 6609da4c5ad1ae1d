"""Which packages are missing, and how to install an extra.

carclf is on no package index, so the advice names the source of this copy.
"""

import importlib.metadata
import importlib.util
import json
import shlex
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def missing_packages(packages: Mapping[str, str]) -> list[str]:
    """Returns the packages that are not installed, by their names on pip; given module → its package's name there."""
    return [name for module, name in packages.items() if importlib.util.find_spec(module) is None]


def install_command(extra: str) -> str:
    """Returns the `pip install` command that adds `extra` to this copy of carclf, ready to paste into a shell.

    A copy in a clone is installed from that clone; any other from the source that pip recorded: a folder, an archive or
    a repository. If nothing is recorded, the command has a placeholder for the folder.
    """
    clone = PACKAGE.parent
    if (clone / "setup.cfg").is_file():
        return f"pip install -e {shlex.quote(f'{clone}[{extra}]')}"
    return f"pip install {shlex.quote(_requirement(_origin(), extra))}"


def _origin() -> dict[str, object]:
    """Returns what pip recorded about the source of carclf (PEP 610); empty if it recorded nothing."""
    try:
        return json.loads(importlib.metadata.distribution("carclf").read_text("direct_url.json") or "{}")
    except importlib.metadata.PackageNotFoundError:
        return {}


def _requirement(origin: dict[str, object], extra: str) -> str:
    address = str(origin.get("url", ""))
    if not address:
        return f"FOLDER_OF_THE_CLONE[{extra}]"
    if address.startswith("file:"):
        return f"{urllib.request.url2pathname(urllib.parse.urlsplit(address).path)}[{extra}]"
    repository = origin.get("vcs_info")
    if isinstance(repository, dict):
        address = f"{repository['vcs']}+{address}@{repository['commit_id']}"
    return f"carclf[{extra}] @ {address}"
