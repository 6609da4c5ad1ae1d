"""The fingerprint of a data set: a hash of what decides its bytes."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from carclf.convert import labels, shards
from carclf.convert.fold_choice import kept_folds
from carclf.convert.inventory import Inventory
from carclf.convert.options import ConvertOptions
from carclf.data import manifest as manifests
from carclf.forms.recognition import AUTO

BYTE_OPTIONS = ("max_side", "folds", "split", "seed", "limit", "near_duplicates")  # the flags that decide bytes


def fingerprint_of(options: ConvertOptions, inventory: Inventory, digests: Sequence[bytes]) -> str:
    """Returns the hash of input and options, hexadecimal: equal hashes mean equal bytes.

    It covers every photo's split, Id, category and content, so a changed byte is always noticed. It covers no time and
    no path of this machine, so the same photos in a zip, in a folder or on another disk are the same input. A rerun
    therefore reads and hashes all photos, which takes a fraction of the time of decoding them.

    Args:
      options: those in BYTE_OPTIONS count, and the contents of --classes and --keep_folds.
      inventory: the photos.
      digests: the SHA-256 of each photo's bytes, in the same order; b"" if it could not be read.
    """
    settings = byte_options(options)
    settings |= {"format": manifests.FORMAT_VERSION, "records": shards.RECORDS_PER_SHARD}
    settings["classes"] = labels.class_names(options.classes) if options.classes else []
    if inventory.class_names and not options.classes:
        settings["names"] = sorted(inventory.class_names.items())
    if groups := sorted((photo.id, photo.group) for photo in inventory.photos if photo.group):
        settings["groups"] = groups
    if options.form != AUTO:
        settings["form"] = options.form
    settings["keep_folds"] = sorted(kept_folds(options).items())
    sample = inventory.sample_submission
    settings["sample"] = hashlib.sha256(sample).hexdigest() if sample is not None else None
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for photo, content in zip(inventory.photos, digests, strict=True):
        digest.update(json.dumps([photo.split, photo.id, photo.category, content.hex()]).encode())
    for rejection in inventory.rejected:
        digest.update(json.dumps([rejection.split, rejection.id, rejection.category, rejection.reason]).encode())
    return digest.hexdigest()


def byte_options(options: ConvertOptions) -> dict[str, Any]:
    """Returns the options that decide bytes; newer ones only if they are used, so that older data sets stay valid."""
    later = {"min_photos_per_class": options.min_photos_per_class} if options.min_photos_per_class else {}
    return {name: getattr(options, name) for name in BYTE_OPTIONS} | later
