"""Makes a pack from its options: what is local first, then the wheels, then the folder under its name."""

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name, parse_wheel_filename

import carclf
from carclf.errors import UserError
from carclf.flags import did_you_mean
from carclf.packing.contents import collect
from carclf.packing.index import PipIndex
from carclf.packing.install import BACKENDS, FORMAT_VERSION, sha256_of
from carclf.packing.own_wheel import OwnWheel, make_own_wheel
from carclf.packing.readme import readme
from carclf.packing.target import MACHINE, SYSTEM, TENSORFLOWS, Target, find_target, mounted_at
from carclf.packing.wheel_plan import Release, plan_wheels
from carclf.packing.writing import check_whole, new_folder, pack_in, write_files, write_pack_file
from carclf.progress import Progress
from carclf.stage_lists import split

INSTALLER = Path(__file__).with_name("install.py")
WHEELS, README = "wheels", "README.md"


@dataclasses.dataclass(frozen=True)
class Packed:
    """A finished pack.

    Attributes:
      output: its folder.
      place: where it is in the notebook.
      about: the content of its pack.json.
      is_new: whether it was made now.
    """

    output: Path
    place: str
    about: Mapping[str, Any]
    is_new: bool

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum((self.output / name).stat().st_size for name in self.about["files"])


def pack(
    *,
    output: Path,
    image: str,
    python: str,
    run: str,
    runs_folder: str,
    stages: str,
    weights: str,
    extras: str,
    competition: str,
) -> Packed:
    """Makes the pack, unless the same one is there already; arguments are the options of `carclf.pack`.

    Raises:
      UserError: something is missing or damaged, the output holds something else, or the wheels cannot be had.
    """
    own = make_own_wheel()
    target = find_target(image, python)
    wanted = wanted_extras(extras, own=own, target=target)
    contents = collect(run=run, runs_folder=runs_folder, weights=weights, stages=stages, extras=wanted)
    place = mounted_at(image, folder_name(output))
    about = _about(own, target=target, extras=wanted, place=place, competition=competition)
    local = {f"{WHEELS}/{own.file_name}": own.content, INSTALLER.name: INSTALLER.read_bytes(), **contents.files}
    if (found := pack_in(output)) is not None:
        _check_same(output, found, about, local)
        check_whole(output, found)
        return Packed(output, place, found, is_new=False)
    index = PipIndex(target)
    with new_folder(output) as folder:
        with Progress("Asking the package index"):
            chosen = plan_wheels(own.requirements, extras=wanted, target=target, index=index.newest)
        (folder / WHEELS).mkdir()
        with Progress("Fetching wheels"):
            index.download(chosen, folder / WHEELS)
        about |= {"packages": _packages(chosen, folder / WHEELS)}
        text = readme(
            contents, target=target, packages=chosen, place=place, competition=competition, version=about["carclf"]
        )
        with Progress("Copying"):
            write_files(folder, {**local, README: text.encode()})
            write_pack_file(folder, about)
    return Packed(output, place, pack_in(output) or {}, is_new=True)


def folder_name(output: Path) -> str:
    """Returns the name of the folder of `--output`."""
    return os.path.basename(os.path.abspath(output))


def wanted_extras(extras: str, *, own: OwnWheel, target: Target) -> list[str]:
    """Returns the extras of `--extras`, and cpu where no other backend is there or asked for.

    Raises:
      UserError: carclf has no such extra.
    """
    names: list[str] = list(dict.fromkeys(canonicalize_name(name) for name in split(extras)))
    for name in names:
        if name not in own.extras:
            known = ", ".join(own.extras)
            raise UserError(
                f"--extras={name} is not an extra of carclf: {did_you_mean(name, own.extras)}Known are {known}."
            )
    return names if target.has_tensorflow or BACKENDS & set(names) else [*names, "cpu"]


def _about(own: OwnWheel, *, target: Target, extras: Sequence[str], place: str, competition: str) -> dict[str, Any]:
    """Returns the content of pack.json but for what the index decides, and the hashes."""
    return {
        "format_version": FORMAT_VERSION,
        "carclf": carclf.__version__,
        "wheel": own.file_name,
        "python": target.python,
        "system": f"{SYSTEM} {MACHINE}",
        "image": Path(target.image).name,
        "image_packages": dict(target.packages),
        "extras": list(extras),
        "place": place,
        "competition": competition,
    }


def _packages(chosen: Sequence[Release], wheels: Path) -> list[dict[str, Any]]:
    """Returns the entries of the packed releases; any package in `stands_for` makes one needless."""
    files = {parse_wheel_filename(path.name)[0]: path.name for path in wheels.glob("*.whl")}
    return [
        {
            "name": one.name,
            "version": one.version,
            "wheel": files[canonicalize_name(one.name)],
            "stands_for": sorted(TENSORFLOWS) if one.name in TENSORFLOWS else [one.name],
        }
        for one in chosen
    ]


def _check_same(
    output: Path, found: Mapping[str, Any], about: Mapping[str, Any], local: Mapping[str, Path | bytes]
) -> None:
    """Checks that the pack in the output is the one that was asked for, whatever releases the index had then.

    Raises:
      UserError: it is another one.
    """
    advice = "choose another --output, or remove that folder"
    for name, value in about.items():
        if found.get(name) != value:
            raise UserError(f"The folder {output} holds a pack of another {name.replace('_', ' ')}: {advice}.")
    brought = {f"{WHEELS}/{one['wheel']}" for one in found["packages"]} | {README}
    packed = {name: digest for name, digest in found["files"].items() if name not in brought}
    ours = {name: _digest(source) for name, source in local.items()}
    if different := sorted(name for name in {*packed, *ours} if packed.get(name) != ours.get(name)):
        raise UserError(f"The folder {output} holds a pack with another {different[0]}: {advice}.")


def _digest(source: Path | bytes) -> str:
    return hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else sha256_of(str(source))
