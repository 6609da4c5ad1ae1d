"""The input after every photo was validated: what is stored, what is rejected, and what is said of both."""

import dataclasses
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from carclf import storage
from carclf.convert import labels, rare_classes
from carclf.convert.inventory import Inventory
from carclf.convert.options import ConvertOptions
from carclf.convert.photos import Photo, Rejection, RejectionKind
from carclf.convert.scan import PhotoCheck
from carclf.data import lists
from carclf.data import manifest as manifests
from carclf.data.validation import CORRECTED, ENCODED, KEPT
from carclf.errors import UserError
from carclf.wording import counted


@dataclasses.dataclass(frozen=True)
class Validated:
    """The input after the first pass: the photos to be stored, their checks, and the rejected ones."""

    inventory: Inventory
    photos: tuple[Photo, ...]
    checks: tuple[PhotoCheck, ...]
    rejected: tuple[Rejection, ...]
    notes: tuple[str, ...] = ()
    """Notes of the validation, in addition to the inventory's own."""

    @classmethod
    def of(cls, inventory: Inventory, checks: Sequence[PhotoCheck], *, least: int) -> "Validated":
        """Returns the validated input.

        Raises:
          UserError: --min_photos_per_class leaves no class, or leaves out one that the sample submission asks for.
        """
        pairs = list(zip(inventory.photos, checks, strict=True))
        shown = [source.shown for source in inventory.sources]
        bad = [
            Rejection(p.id, p.split, p.category, v.reason, _shown(shown[p.entry.source], p.entry.name), "unusable")
            for p, v in pairs
            if v.reason
        ]
        good = [(p, v) for p, v in pairs if not v.reason]
        usable = [p for p, _ in good]
        rare = rare_classes.rare_classes(usable, least=least)
        rare_classes.check_left_out(rare, usable, least=least, sample=inventory.sample)
        why_rare = rare_classes.reason(least)
        small = [
            Rejection(p.id, p.split, p.category, why_rare, _shown(shown[p.entry.source], p.entry.name), "rare class")
            for p in usable
            if p.split != "test" and p.category in rare
        ]
        good = [(p, v) for p, v in good if p.split == "test" or p.category not in rare]
        single = rare_classes.rare_classes([p for p, _ in good], least=2)
        said = rare_classes.notes(rare, single, least=least)
        rejected = _in_order([*inventory.rejected, *bad, *small])
        return cls(inventory, tuple(p for p, _ in good), tuple(v for _, v in good), rejected, tuple(said))

    def without(self, reasons: Mapping[int, str], *, kind: RejectionKind, note: str) -> "Validated":
        """Returns the input without some of its photos, which are rejected for these reasons, and with a note more.

        Args:
          reasons: by index into `photos`.
          kind: of all of them.
          note: for people.
        """
        photos = [self.photos[index] for index in reasons]
        rejected = [
            Rejection(photo.id, photo.split, photo.category, reason, self.shown(photo), kind)
            for photo, reason in zip(photos, reasons.values(), strict=True)
        ]
        left = [index for index in range(len(self.photos)) if index not in reasons]
        return dataclasses.replace(
            self,
            photos=tuple(self.photos[index] for index in left),
            checks=tuple(self.checks[index] for index in left),
            rejected=_in_order([*self.rejected, *rejected]),
            notes=(*self.notes, note),
        )

    @property
    def bad(self) -> list[Rejection]:
        """Returns the photos that could not be used, as opposed to those left out on purpose."""
        return [r for r in self.rejected if r.kind == "unusable"]

    @property
    def left_out_classes(self) -> set[str]:
        """Returns the categories that --min_photos_per_class leaves out."""
        return {r.category for r in self.rejected if r.kind == "rare class"}

    def shown(self, photo: Photo) -> str:
        """Returns where the photo lies, for people: the source and the name in it."""
        return _shown(self.inventory.sources[photo.entry.source].shown, photo.entry.name)

    def counts(self) -> dict[str, Any]:
        """Returns the numbers of photos read, stored and rejected, by split and, within each, by category."""
        stored = Counter((p.split, p.category) for p in self.photos)
        rejected = Counter((r.split, r.category) for r in self.rejected)
        result: dict[str, Any] = {}
        for split in manifests.SPLITS:
            categories = labels.order_categories(category for of, category in stored | rejected if of == split)
            if not categories:
                continue
            by_category = {c: _counted(stored[split, c], rejected[split, c]) for c in categories}
            totals = {key: sum(counts[key] for counts in by_category.values()) for key in _counted(0, 0)}
            result[split] = totals | ({} if split == "test" else {"categories": by_category})
        return result


def report(validated: Validated) -> None:
    """Prints how many photos are stored and rejected, with the remarks and the first reasons on stderr."""
    for split, counts in validated.counts().items():
        print(f"{split}: {counts['read']:,} read = {counts['stored']:,} stored + {counts['rejected']:,} rejected")
    how = Counter(check.how for check in validated.checks)
    corrected = f"{how[CORRECTED]:,} with a corrected header, " * bool(how[CORRECTED])
    kept = counted(how[KEPT], "photo is kept", "photos are kept")
    print(f"{kept} byte for byte, {corrected}{how[ENCODED]:,} encoded once", flush=True)
    for remark, count in Counter(_kind_of(check.remark) for check in validated.checks if check.remark).items():
        print(f"Note: look at {counted(count, 'photo')}: {remark}", file=sys.stderr)
    for note in validated.notes:
        print(f"Note: {note}", file=sys.stderr)
    for rejection in validated.bad[:5]:
        print(f"rejected: {rejection.path or rejection.id}: {rejection.reason}", file=sys.stderr)


def stop_if_bad(options: ConvertOptions, validated: Validated) -> None:
    """Checks that no photo is bad, unless --on_bad=skip, and that a training photo is left.

    Raises:
      UserError: a photo is bad, and all of them are listed in rejected.csv; or no training photo is left.
    """
    if validated.bad and options.on_bad == "fail":
        first = validated.bad[0]
        found = f"first: {first.path or first.id}: {first.reason}"
        if not options.dry_run:
            storage.make_folder(options.output)
            path = storage.join(options.output, "rejected.csv")
            storage.write_atomic(path, rejected_csv(validated.bad))
            found += f"; all are in {path}"
        raise UserError(
            f"{counted(len(validated.bad), 'photo')} cannot be used ({found}): fix or remove them, or leave them out "
            "with --on_bad=skip."
        )
    if not any(photo.split == "train" for photo in validated.photos):
        raise UserError(
            f"None of the training photos of {options.input} can be used: the reasons are above, and with "
            "--on_bad=fail all of them are listed."
        )


def rejected_csv(rejected: Iterable[Rejection]) -> bytes:
    """Returns the bytes of rejected.csv."""
    return lists.to_csv(lists.REJECTED_COLUMNS, [(r.id, r.split, r.category, r.reason, r.path) for r in rejected])


def _in_order(rejected: Iterable[Rejection]) -> tuple[Rejection, ...]:
    return tuple(sorted(rejected, key=lambda r: (r.split, r.id, r.path)))


def _counted(stored: int, rejected: int) -> dict[str, int]:
    return {"read": stored + rejected, "stored": stored, "rejected": rejected}


def _shown(source: str, name: str) -> str:
    return f"{source}/{name}" if source else name


def _kind_of(remark: str) -> str:
    """Returns the remark without the details of this photo."""
    return re.sub(r"\b[\d,]+(?= bytes of its scan)", "some", remark)
