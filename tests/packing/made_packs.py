"""Packs made without a network: an index of two packages whose wheels are written here."""

import io
import zipfile
from pathlib import Path
from typing import ClassVar

from packaging.requirements import Requirement

from carclf.pack import PackOptions, main
from carclf.packing import packer
from carclf.packing.wheel_plan import Release

RELEASES = {"simplejpeg": "1.9.0"}  # of the rest the lowest that is asked for


class Index:
    """Stands for `PipIndex`; remembers the target and what was asked."""

    asked: ClassVar[list[str]] = []

    def __init__(self, target):
        Index.asked = []

    def newest(self, requirements):
        Index.asked += requirements
        asked = [Requirement(line) for line in requirements]
        lowest = [next((part.version for part in one.specifier if part.operator == ">="), "1") for one in asked]
        return [
            Release(one.name, RELEASES.get(one.name, low), (), "0" * 64) for one, low in zip(asked, lowest, strict=True)
        ]

    def download(self, candidates, folder):
        for one in candidates:
            write_wheel(folder, one.name, one.version)


def write_wheel(folder: Path, name: str, version: str) -> None:
    """Writes a wheel that holds one empty module."""
    module = name.replace("-", "_")
    about = f"{module}-{version}.dist-info"
    files = {
        f"{module}.py": "",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{about}/RECORD"])
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as wheel:
        for path, content in {**files, f"{about}/RECORD": record}.items():
            wheel.writestr(zipfile.ZipInfo(path), content)
    (folder / f"{module}-{version}-py3-none-any.whl").write_bytes(memory.getvalue())


def make_pack(output: Path, monkeypatch, **options) -> Path:
    """Makes a pack with the index above, and returns its folder."""
    monkeypatch.setattr(packer, "PipIndex", Index)
    main(PackOptions(output=str(output), **options))
    return output
