"""Makes the wheel of carclf from the copy that runs: of a clone by its setup.cfg, else by pip's record of its files.

The same files give the same bytes. Nothing is built in the clone, and no index is asked.
"""

import base64
import configparser
import csv
import dataclasses
import email
import hashlib
import importlib.metadata
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import carclf
from carclf.errors import UserError
from carclf.extras import PACKAGE

NAME = "carclf"
FIRST_DATE = (1980, 1, 1, 0, 0, 0)  # that a zip can hold
WHEEL = b"Wheel-Version: 1.0\nGenerator: carclf.pack\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
NOT_PACKED = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")  # what pip writes about an installation


@dataclasses.dataclass(frozen=True)
class OwnWheel:
    """The wheel of carclf.

    Attributes:
      file_name: its name.
      content: its bytes.
      requirements: its `Requires-Dist` lines.
      extras: names of its extras.
    """

    file_name: str
    content: bytes
    requirements: Sequence[str]
    extras: Sequence[str]


def make_own_wheel() -> OwnWheel:
    """Returns the wheel of this copy of carclf.

    Raises:
      UserError: the copy is neither in a clone nor installed by pip.
    """
    clone = PACKAGE.parent
    files = _files_of_clone(clone) if (clone / "setup.cfg").is_file() else _files_of_installation()
    folder = next(path.partition("/")[0] for path in files if path.partition("/")[0].endswith(".dist-info"))
    read = email.message_from_bytes(files[f"{folder}/METADATA"])
    return OwnWheel(
        file_name=f"{NAME}-{read['version']}-py3-none-any.whl",
        content=_zipped(files, record=f"{folder}/RECORD"),
        requirements=read.get_all("requires-dist", []),
        extras=read.get_all("provides-extra", []),
    )


def _files_of_clone(clone: Path) -> dict[str, bytes]:
    """Returns what setuptools would put into a wheel of the clone: path inside it → content."""
    setup = configparser.ConfigParser()
    setup.read(clone / "setup.cfg", encoding="utf-8")
    files = {name: path.read_bytes() for name, path in _package_files(setup, clone)}
    about = f"{NAME}-{carclf.__version__}.dist-info"
    files[f"{about}/METADATA"] = _metadata(setup).encode()
    files[f"{about}/WHEEL"] = WHEEL
    files[f"{about}/top_level.txt"] = f"{NAME}\n".encode()
    scripts = setup["options.entry_points"]["console_scripts"].strip()
    files[f"{about}/entry_points.txt"] = f"[console_scripts]\n{scripts}\n".encode()
    files[f"{about}/licenses/LICENSE"] = (clone / "LICENSE").read_bytes()
    return files


def _package_files(setup: configparser.ConfigParser, clone: Path) -> Iterator[tuple[str, Path]]:
    """Yields (path inside the wheel, path) of the modules and the data of every package."""
    folders = _mapping(setup["options"].get("package_dir", ""))
    data = {name: patterns.split(",") for name, patterns in _mapping(_section_text(setup, "package_data")).items()}
    for package in setup["options"]["packages"].split():
        folder = clone / folders.get(package, package.replace(".", "/"))
        patterns = ["*.py", *(pattern.strip() for pattern in data.get(package, ()))]
        for path in (path for pattern in patterns for path in sorted(folder.glob(pattern)) if path.is_file()):
            yield f"{package.replace('.', '/')}/{path.relative_to(folder).as_posix()}", path


def _section_text(setup: configparser.ConfigParser, name: str) -> str:
    section = f"options.{name}"
    return "\n".join(f"{key} = {value}" for key, value in setup[section].items()) if setup.has_section(section) else ""


def _mapping(text: str) -> dict[str, str]:
    """Returns the entries of lines such as `carclf.stages = stages`."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _metadata(setup: configparser.ConfigParser) -> str:
    about, options = setup["metadata"], setup["options"]
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {NAME}",
        f"Version: {carclf.__version__}",
        f"Summary: {about['description']}",
        f"License: {about['license']}",
        f"Requires-Python: {options['python_requires']}",
        *(f"Requires-Dist: {requirement}" for requirement in _lines(options["install_requires"])),
    ]
    for extra, requirements in setup["options.extras_require"].items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f"Requires-Dist: {requirement}" for requirement in _of_extra(extra, requirements)]
    return "\n".join(lines) + "\n"


def _of_extra(extra: str, requirements: str) -> Iterator[str]:
    for line in _lines(requirements):
        requirement, separator, marker = (part.strip() for part in line.partition(";"))
        given = f"({marker}) and " if separator else ""
        yield f'{requirement}; {given}extra == "{extra}"'


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def _files_of_installation() -> dict[str, bytes]:
    """Returns the files that pip installed: path inside the wheel → content.

    Raises:
      UserError: pip has no record of this copy, or files of it are missing.
    """
    try:
        paths = _recorded_paths(importlib.metadata.distribution(NAME))
    except importlib.metadata.PackageNotFoundError:
        paths = {}
    if (PACKAGE / "__init__.py").resolve() not in [path.resolve() for path in paths.values()]:
        raise UserError(
            f"The wheel of carclf cannot be made, since {PACKAGE} is neither in a clone nor recorded by pip: run pip "
            "install -e FOLDER_OF_THE_CLONE, and pack again."
        )
    if missing := [name for name, path in paths.items() if not path.is_file()]:
        raise UserError(f"The wheel of carclf cannot be made, since {missing[0]} is missing: reinstall it.")
    return {name: path.read_bytes() for name, path in paths.items()}


def _recorded_paths(installed: importlib.metadata.Distribution) -> dict[str, Path]:
    """Returns the files of a package that came from its wheel, by their path inside it."""
    # Not `installed.files`: from Python 3.12 on it leaves out the files that are missing.
    recorded = [row[0] for row in csv.reader((installed.read_text("RECORD") or "").splitlines()) if row]
    return {
        name: Path(str(installed.locate_file(name)))
        for name in recorded
        if not name.startswith("../")
        and not name.endswith(".pyc")
        and not (".dist-info/" in name and name.rpartition("/")[2] in NOT_PACKED)
    }


def _zipped(files: Mapping[str, bytes], *, record: str) -> bytes:
    """Returns the bytes of a wheel of these files; its RECORD comes last."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    for name, content in sorted(files.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        writer.writerow((name, f"sha256={digest}", len(content)))
    writer.writerow((record, "", ""))
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in [*sorted(files.items()), (record, table.getvalue().encode())]:
            entry = zipfile.ZipInfo(name, FIRST_DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            wheel.writestr(entry, content)
    return memory.getvalue()
