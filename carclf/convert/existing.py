"""The data set that an output holds already: it is kept, repaired or replaced."""

import dataclasses
import sys

from carclf import storage
from carclf.convert import dataset, scan, shards
from carclf.convert.fingerprint import fingerprint_of
from carclf.convert.inventory import Inventory
from carclf.convert.options import ConvertOptions
from carclf.convert.verify import verify
from carclf.data import manifest as manifests
from carclf.data.manifest import Manifest
from carclf.errors import UserError
from carclf.workers import Pool


@dataclasses.dataclass(frozen=True)
class Existing:
    """What an output holds already: its data set, or None if that is damaged."""

    manifest: Manifest | None


def find_existing(options: ConvertOptions) -> Existing | None:
    """Returns the data set in the output, or None if there is none.

    With --overwrite only dataset.json is read: what it names is compared later.
    """
    directory = options.output
    path = storage.join(directory, manifests.MANIFEST_FILE)
    if storage.size_bytes(path) is None:
        return None
    try:
        if options.overwrite:
            return Existing(manifests.from_json(manifests.read_file(path), directory=directory))
        return Existing(manifests.load_manifest(directory))
    except UserError as error:
        print(f"Note: the data set found there cannot be used: {error}", file=sys.stderr)
        return Existing(None)


def finished(existing: Existing, options: ConvertOptions, inventory: Inventory, workers: Pool) -> Manifest | None:
    """Returns the existing data set if it is this one, after completing what a kill after its commit left undone.

    With --overwrite it is verified first, and None is returned if something of it is not whole.

    Raises:
      UserError: it is another data set, or a damaged one, and --overwrite is not given.
    """
    manifest = existing.manifest
    digests = scan.hash_photos(workers, inventory.photos)
    if manifest and manifest.fingerprint == fingerprint_of(options, inventory, digests):
        if options.overwrite and not options.dry_run and not _whole(manifest, options, workers):
            return None
        if not options.dry_run:
            dataset.copy_lists(manifest)
            dataset.remove_leftovers(manifest)
        checked = ", every hash and every photo was checked" if options.overwrite and not options.dry_run else ""
        print(f"{options.output} holds this data set already{checked}: nothing to do.")
        return manifest
    if not options.overwrite:
        if manifest is None:
            raise UserError(
                f"{options.output} holds a damaged data set: add --overwrite to replace it, or choose another --output."
            )
        raise UserError(
            f"{options.output} holds a data set of other photos or options: add --overwrite to replace it, or choose "
            "another --output."
        )
    return None


def _whole(existing: Manifest, options: ConvertOptions, workers: Pool) -> bool:
    """Returns whether a data set is whole as it is; otherwise its whole shards are set to be kept."""
    path = storage.join(existing.directory, manifests.MANIFEST_FILE)
    processes = options.workers if workers.count > 1 else 1
    try:
        verify(options.output, workers=processes)
        if manifests.read_file(path) == manifests.to_json(existing):
            return True
        print(f"{path} is written again with its hash.")
    except UserError as error:
        print(f"Note: {error}", file=sys.stderr)
    print("What is whole is kept, and the rest is written again.", flush=True)
    shards.keep_whole_shards(existing, workers=processes)
    return False
