"""From photos to a data set: list, validate, group, split, write, commit."""

import contextlib
import dataclasses
import os
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from carclf import preemption, storage
from carclf.convert import dataset, duplicates, folds, labels, rare_classes, scan, shards
from carclf.convert.duplicates import Group
from carclf.convert.encoded_photos import folder_in, room_in
from carclf.convert.existing import find_existing, finished
from carclf.convert.external_copies import without_copies
from carclf.convert.fingerprint import byte_options, fingerprint_of
from carclf.convert.fold_choice import check_choice, choose_folds
from carclf.convert.inventory import Inventory, take_inventory
from carclf.convert.options import ConvertOptions
from carclf.convert.output_lock import holding_output
from carclf.convert.photos import Photo
from carclf.convert.shards import Record
from carclf.convert.validated import Validated, rejected_csv, report, stop_if_bad
from carclf.data import lists
from carclf.data import manifest as manifests
from carclf.data.manifest import ClassEntry, Manifest
from carclf.errors import UserError
from carclf.extras import install_command
from carclf.forms import Form, recognise
from carclf.progress import Progress
from carclf.scratch import scratch_folder
from carclf.wording import counted, first_of
from carclf.workers import Pool, Workers, worker_count

if TYPE_CHECKING:
    from carclf.convert.beam import BeamWorkers


def convert(options: ConvertOptions) -> Manifest | None:
    """Returns the data set written to `options.output` (or found finished there); None after a dry run.

    Raises:
      UserError: the input is not understood, photos are bad with --on_bad=fail, the output holds another data set and
        --overwrite is not given, another converter writes to it, or the disk is full.
      Preempted: SIGTERM has arrived.
    """
    if options.runner == "beam":  # its workers start in folders of their own
        options = dataclasses.replace(
            options,
            input=_absolute(options.input),
            output=_absolute(options.output),
            external=_absolute(options.external),
        )
    writes = bool(options.output) and not options.dry_run
    try:
        with (
            preemption.watching(_where_it_stands),
            holding_output(options.output) if writes else contextlib.nullcontext(),
            scratch_folder() as scratch,
        ):
            if options.output:
                dataset.check_own_lists(options.output)
            local = not options.dry_run and not storage.is_remote(options.output)
            spool = os.path.join(options.output, dataset.SPOOL_FOLDER) if local else str(scratch)
            inventory = _inventory(options, spool=spool)
            if options.output and inventory.sample_submission is not None:
                dataset.check_own_sample(options.output, inventory.sample_submission)
            keeps = local and options.runner == "local"  # otherwise workers may be on other machines
            with (
                folder_in(options.output) if keeps else contextlib.nullcontext("") as kept,
                _workers(options, inventory, kept=kept) as workers,
            ):
                return _convert(options, inventory, workers, kept=kept)
    except OSError as error:
        path = f" {error.filename}" if error.filename else ""
        raise UserError(
            f"The conversion stopped at{path} ({error.strerror or error}): free some space or fix it, then run the "
            "same command again; finished shards are kept."
        ) from None


def _where_it_stands() -> str:
    return "finished shards are kept, and the same command continues"


def _absolute(path: str) -> str:
    return os.path.abspath(path) if path and not storage.is_remote(path) else path


def _workers(options: ConvertOptions, inventory: Inventory, *, kept: str) -> "Workers | BeamWorkers":
    """Returns what runs the passes over the photos: local processes or Apache Beam.

    Raises:
      UserError: Beam is requested but not installed, or cannot read its options.
    """
    count = worker_count(options.workers, photos=len(inventory.photos), photos_per_worker=scan.PHOTOS_PER_WORKER)
    arguments = (inventory.sources, options.max_side, options.near_duplicates, kept, room_in(kept, processes=count))
    if options.runner == "local":
        return Workers(count, scan.prepare, *arguments)
    try:
        from carclf.convert.beam import BeamWorkers
    except ModuleNotFoundError as error:
        if error.name != "apache_beam":
            raise
        raise UserError(
            f"--runner=beam needs Apache Beam, which is not installed: {install_command('beam')}."
        ) from None
    return BeamWorkers(options.beam_options, count, folder=options.output, prepare=scan.prepare, arguments=arguments)


def _convert(options: ConvertOptions, inventory: Inventory, workers: Pool, *, kept: str) -> Manifest | None:
    existing = find_existing(options) if options.output else None
    if existing and (whole := finished(existing, options, inventory, workers)):
        return None if options.dry_run else whole
    _check_early(options, inventory)
    checks = scan.validate_photos(workers, inventory.photos)
    validated = Validated.of(inventory, checks, least=options.min_photos_per_class)
    report(validated)
    stop_if_bad(options, validated)
    if options.dry_run:
        _rehearse(options, validated, workers)
        return None
    fingerprint = fingerprint_of(options, inventory, [check.source_sha256 for check in checks])
    return _write(options, validated, fingerprint, workers, kept=kept)


def _check_early(options: ConvertOptions, inventory: Inventory) -> None:
    """Checks, before hours of work, what is certain without a look into the photos.

    Raises:
      UserError: the sample, the names of the classes or the folds that are asked for do not fit.
    """
    if not options.min_photos_per_class:
        _form(options, inventory, inventory.photos)
    if options.on_bad == "fail":  # otherwise bad photos may take their classes away
        least = options.min_photos_per_class
        rare = rare_classes.rare_classes(inventory.photos, least=least)
        categories = {photo.category for photo in inventory.photos if photo.split == "train"}
        if rare.keys() < categories:
            _named_classes(options, sorted(categories - rare.keys()), set(rare))
    check_choice(options, inventory.photos)


def _inventory(options: ConvertOptions, *, spool: str) -> Inventory:
    with Progress("Listing the photos"):
        inventory = take_inventory(options, spool=spool)
    if options.limit:
        inventory = _limited(inventory, options)
    print(inventory.describe(), flush=True)
    for note in inventory.notes:
        print(f"Note: {note}", file=sys.stderr)
    return inventory


def _limited(inventory: Inventory, options: ConvertOptions) -> Inventory:
    """Returns at most `limit` training photos, classes in proportion, and test photos at the same rate; no sample."""
    splits = Counter(photo.split for photo in inventory.photos)
    categories = labels.order_categories(photo.category for photo in inventory.photos)
    label_of = {category: label for label, category in enumerate(categories)}
    kept: list[Photo] = []
    for split, total in sorted(splits.items()):
        photos = [photo for photo in inventory.photos if photo.split == split]
        chosen = folds.stratified_subset(
            ids=[photo.id for photo in photos],
            labels=[label_of[photo.category] for photo in photos],
            size=min(total, -(-total * options.limit // splits["train"])),
            seed=options.seed,
        )
        kept += [photos[index] for index in chosen]
    left_out = "The sample submission was left out: with --limit not all of its photos are there."
    notes = (*inventory.notes, *([left_out] if inventory.sample_submission else []))
    return dataclasses.replace(inventory, photos=tuple(kept), sample_submission=None, sample=None, notes=notes)


def _rehearse(options: ConvertOptions, validated: Validated, workers: Pool) -> None:
    """Reports what a dry run has found beyond single photos.

    Raises:
      UserError: the conversion itself would stop.
    """
    classes = _classes(options, validated)
    _form(options, validated.inventory, validated.photos, verbose=True)
    validated, groups = _grouped(options, validated, workers)
    choose_folds(options, validated, categories=[category for category, _ in classes], groups=groups)
    if options.output:
        stored_bytes = sum(check.stored_bytes for check in validated.checks)
        dataset.check_space(options.output, stored_bytes + dataset.RECORD_BYTES * len(validated.photos))
    scenes = [group for group in groups if group.kind == lists.SCENE]
    groups = [group for group in groups if group.kind != lists.SCENE]
    copies = len({member for group in groups for member in group.members})
    found = f"{counted(copies, 'photo')} are duplicates, in {counted(len(groups), 'group')}"
    print(f"{found if copies else 'There are no duplicates'}.")
    if scenes:
        print(f"{counted(len(scenes), 'group')} of other photos show one scene each.")
    remarks = Counter(
        note for group in groups for note in duplicates.note_on(group, validated.photos).split("; ") if note
    )
    for remark, count in remarks.items():
        print(f"  {counted(count, 'group')}: {remark}")
    for group in groups[:5]:
        print(f"  {group.kind}: {first_of([validated.shown(validated.photos[member]) for member in group.members])}")
    print(f"{counted(len(classes), 'class', 'classes')}; nothing was written (--dry_run).")


def _grouped(options: ConvertOptions, validated: Validated, workers: Pool) -> tuple[Validated, list[Group]]:
    """Returns the photos without external copies of training photos, and the groups of those that belong together."""
    groups = duplicates.find_groups(validated.photos, validated.checks, near=options.near_duplicates, workers=workers)
    left, groups = without_copies(validated, groups)
    for note in left.notes[len(validated.notes) :]:
        print(f"Note: {note}", file=sys.stderr)
    return left, groups


def _classes(options: ConvertOptions, validated: Validated) -> list[tuple[str, str]]:
    """Returns (category, name) of every class in label order; --classes may also name classes that were left out.

    Raises:
      UserError: the names do not fit the categories, or an external photo has a class without training photos.
    """
    stored = [photo.category for photo in validated.photos if photo.split == "train"]
    left_out = validated.left_out_classes
    named = _named_classes(options, stored, left_out)
    names = {} if options.classes else validated.inventory.class_names
    classes = [(category, names.get(category, name)) for category, name in named if category not in left_out]
    _check_external(validated, [category for category, _ in classes])
    return classes


def _named_classes(options: ConvertOptions, stored: Sequence[str], left_out: Collection[str]) -> list[tuple[str, str]]:
    """Returns (category, name) of every class that --classes may name, in label order."""
    given = set(labels.class_names(options.classes)) if options.classes else set()
    # Names in label order count every class, including those that are left out.
    return labels.name_classes(stored if set(stored) <= given else [*stored, *left_out], options.classes)


def _form(
    options: ConvertOptions, inventory: Inventory, photos: Sequence[Photo], *, verbose: bool = False
) -> Form | None:
    """Returns what an answer looks like, according to the sample submission; None without one.

    Args:
      options: of the converter.
      inventory: the input.
      photos: those whose classes count.
      verbose: whether to print the notes about it.

    Raises:
      UserError: the sample is not about these classes, or several forms are possible.
    """
    if inventory.sample is None:
        return None
    stored = [photo.category for photo in photos if photo.split == "train"]
    categories = [category for category, _ in labels.name_classes(stored, options.classes)]
    found = recognise(inventory.sample, categories, form=options.form, label_column=inventory.label_column)
    for note in found.notes if verbose else ():
        print(f"Note: {note}", file=sys.stderr)
    return found.form


def _write(options: ConvertOptions, validated: Validated, fingerprint: str, workers: Pool, *, kept: str) -> Manifest:
    folder, directory = fingerprint[: dataset.FOLDER_DIGITS], options.output
    classes = _classes(options, validated)
    form = _form(options, validated.inventory, validated.photos, verbose=True)
    validated, groups = _grouped(options, validated, workers)
    fold_of = choose_folds(options, validated, categories=[category for category, _ in classes], groups=groups)
    records = _records(validated, fold_of, classes)
    written = dataset.write_shards(
        directory,
        list(shards.plan_shards(records, folder=folder, seed=options.seed)),
        stored_bytes=sum(check.stored_bytes for check in validated.checks),
        kept=kept,
        workers=workers,
    )
    lists_of = _lists(validated, groups, fold_of)
    paths = [(photo, validated.shown(photo)) for photo in validated.photos]
    ids_of = {split: dataset.ids_csv(paths, records, split=split) for split in manifests.ID_SPLITS}
    count = Counter(photo.category for photo in validated.photos if photo.split == "train")
    manifest = Manifest(
        directory=directory,
        fingerprint=fingerprint,
        classes=tuple(ClassEntry(label, key, name, count[key]) for label, (key, name) in enumerate(classes)),
        shards=tuple(one.shard for one in written),
        ids={split: dataset.write_list(directory, folder, f"ids-{split}", *part) for split, part in ids_of.items()},
        lists={name: dataset.write_list(directory, folder, name, *part) for name, part in lists_of.items()},
        index=dataset.write_index(directory, folder, written),
        options=byte_options(options),
        source={
            "layout": validated.inventory.layout,
            "counts": validated.counts(),
            "notes": [*validated.inventory.notes, *validated.notes],
        },
        form=form,
    )
    storage.write_atomic(storage.join(directory, manifests.MANIFEST_FILE), manifests.to_json(manifest))
    dataset.copy_lists(manifest)
    dataset.remove_leftovers(manifest)
    return manifest


def _records(
    validated: Validated, fold_of: Sequence[int | None], classes: Sequence[tuple[str, str]]
) -> list[tuple[str, int | None, Record]]:
    label_of = {category: label for label, (category, _) in enumerate(classes)}
    rows = dataset.number_rows(validated.photos)
    return [
        (_split_of(photo, fold), fold, dataset.build_record(photo, check, row=row, label_of=label_of, names=classes))
        for photo, check, fold, row in zip(validated.photos, validated.checks, fold_of, rows, strict=True)
    ]


def _split_of(photo: Photo, fold: int | None) -> str:
    """Returns a record's split; a training photo without a fold is, like an external one, never held out."""
    return "extra" if photo.split == "train" and fold is None else photo.split


def _lists(
    validated: Validated, groups: Sequence[Group], fold_of: Sequence[int | None]
) -> dict[str, tuple[bytes, int]]:
    """Returns (content, rows) of the CSVs about the photos, by name."""
    rows = duplicates.duplicate_rows(groups, validated.photos, fold_of)
    remarks = [
        (photo.id, photo.split, photo.category, check.remark, validated.shown(photo))
        for photo, check in zip(validated.photos, validated.checks, strict=True)
        if check.remark
    ]
    content = {
        "rejected": (rejected_csv(validated.rejected), len(validated.rejected)),
        "remarks": (lists.to_csv(lists.REMARK_COLUMNS, remarks), len(remarks)),
        lists.DUPLICATES: (lists.to_csv(lists.DUPLICATE_COLUMNS, rows), len(rows)),
    }
    if validated.inventory.sample_submission is not None:
        tests = sum(photo.split == "test" for photo in validated.photos)
        content[manifests.SAMPLE_LIST] = (validated.inventory.sample_submission, tests)
    return content


def _check_external(validated: Validated, categories: Sequence[str]) -> None:
    lost = sorted({p.category for p in validated.photos if p.split == "extra"} - set(categories))
    if lost:
        raise UserError(
            f"No training photo of {first_of(lost)} can be used, and --external has some: fix the training "
            "photos, or remove that class."
        )
