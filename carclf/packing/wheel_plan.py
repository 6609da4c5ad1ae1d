"""Which wheels a target lacks: a closure over requirements, in which nothing that is there moves."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from carclf.errors import UserError
from carclf.packing.target import TENSORFLOWS, Target

TRIES = 40  # releases of one package
OWN = "carclf"


@dataclasses.dataclass(frozen=True)
class Release:
    """A release that the index offers.

    Attributes:
      name: normalised name.
      version: its version.
      requirements: its `Requires-Dist` lines.
      sha256: hash of its wheel.
    """

    name: str
    version: str
    requirements: Sequence[str]
    sha256: str


# Returns the newest release for each requirement, such as "onnx!=1.23.2,>=1.17", without what that requires; raises a
# LookupError with the name of the first for which there is none.
ReleaseIndex = Callable[[Sequence[str]], Sequence[Release]]


@dataclasses.dataclass(frozen=True)
class _Demand:
    """A requirement on a package that is not there, with what asks for it."""

    requirement: Requirement
    by: str


def plan_wheels(
    requirements: Iterable[str], *, extras: Iterable[str], target: Target, index: ReleaseIndex
) -> list[Release]:
    """Returns the releases that have to be brought, by name: the newest that fit each other and what is there.

    Args:
      requirements: `Requires-Dist` lines of carclf.
      extras: those of its extras that are wanted.
      target: the machine of the notebook.
      index: where releases come from.

    Raises:
      UserError: what is there does not fit carclf, or no release fits what is there.
    """
    roots = list(_applicable(requirements, extras=extras, target=target))
    chosen: dict[str, Release] = {}
    excluded: dict[str, set[str]] = {}
    while True:
        demands, conflict = _walk(roots, chosen=chosen, target=target)
        if conflict is not None:
            if conflict.by == OWN:
                raise UserError(_unfit(conflict.requirement, target))
            tried = excluded.setdefault(conflict.by, set())
            tried.add(chosen.pop(conflict.by).version)
            if len(tried) > TRIES:
                raise UserError(_none_fits(conflict.by, target, because=str(conflict.requirement)))
            continue
        open_names = {
            name for name, asked in demands.items() if name not in chosen or not _fits(asked, chosen[name].version)
        }
        if not open_names:
            return [chosen[name] for name in sorted(demands)]
        lines = [_line(name, demands[name], excluded.get(name, ())) for name in sorted(open_names)]
        try:
            found = index(lines)
        except LookupError as error:
            missing = canonicalize_name(str(error.args[0]))
            raise UserError(_none_fits(missing, target, because=_reason(demands.get(missing, ())))) from None
        chosen.update({release.name: release for release in found})
        for name in open_names:  # an index that answers something else would be asked forever
            if name not in chosen or not _fits(demands[name], chosen[name].version):
                raise UserError(_none_fits(name, target, because=_reason(demands[name])))


def _applicable(lines: Iterable[str], *, extras: Iterable[str], target: Target) -> Iterator[Requirement]:
    """Yields the requirements that count on the target, with these extras."""
    wanted = ["", *extras]
    for line in lines:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(_holds(marker, target, extra) for extra in wanted):
            yield requirement


def _holds(marker: Marker, target: Target, extra: str) -> bool:
    return marker.evaluate({**target.environment(), "extra": extra})


def _walk(
    roots: Sequence[Requirement], *, chosen: dict[str, Release], target: Target
) -> tuple[dict[str, list[_Demand]], _Demand | None]:
    """Returns the demands on each package that has to be brought, and one that what is there does not meet, if any."""
    demands: dict[str, list[_Demand]] = {}
    pending = [_Demand(requirement, OWN) for requirement in roots]
    seen = set()
    while pending:
        demand = pending.pop()
        name = canonicalize_name(demand.requirement.name)
        if (key := (demand.by, str(demand.requirement))) in seen:
            continue
        seen.add(key)
        there = target.version_of(name)
        if there is not None:
            if there and not demand.requirement.specifier.contains(there, prereleases=True):
                return demands, demand
            continue
        demands.setdefault(name, []).append(demand)
        if name in chosen:
            needed = _applicable(chosen[name].requirements, extras=demand.requirement.extras, target=target)
            pending += [_Demand(requirement, name) for requirement in needed]
    return demands, None


def _fits(asked: Iterable[_Demand], version: str) -> bool:
    return all(demand.requirement.specifier.contains(version, prereleases=True) for demand in asked)


def _line(name: str, asked: Iterable[_Demand], excluded: Iterable[str]) -> str:
    """Returns what the index is asked for."""
    parts = {str(part) for demand in asked for part in demand.requirement.specifier}
    return name + ",".join(sorted(parts | {f"!={version}" for version in excluded}))


def _reason(asked: Iterable[_Demand]) -> str:
    return " and ".join(sorted({f"{demand.by} needs {_short(demand.requirement)}" for demand in asked}))


def _short(requirement: Requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"


def _where(target: Target) -> str:
    return f"the image {target.image}" if target.image else "a machine of which nothing is known"


def _unfit(requirement: Requirement, target: Target) -> str:
    name = canonicalize_name(requirement.name)
    others = " or ".join(sorted(TENSORFLOWS)) if name in TENSORFLOWS else name
    return (
        f"carclf needs {_short(requirement)}, and {_where(target)} has {others} {target.version_of(name)}, which a "
        "pack does not move: give --image a newer image, or the list of one."
    )


def _none_fits(name: str, target: Target, *, because: str) -> str:
    return (
        f"No wheel of {name} for Python {target.python} fits {_where(target)} ({because or 'it is not on the index'}): "
        "leave out the extra that needs it, or give another --python or --image."
    )
