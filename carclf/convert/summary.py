"""What a conversion prints at its end."""

from carclf import advice
from carclf.data.lists import DUPLICATES
from carclf.data.manifest import Manifest
from carclf.wording import counted

LISTED = {  # list → what its photos are, for one and for several
    "rejected": ("photo was left out", "photos were left out"),
    "remarks": ("photo is worth a look", "photos are worth a look"),
    DUPLICATES: ("photo looks like another", "photos look like another"),
}


def summary(manifest: Manifest) -> str:
    """Returns a few lines: photos, classes, folds, what to look at, the next command."""
    size = sum(shard.bytes for shard in manifest.shards)
    photos = {split: manifest.photos(split) for split in ("train", "extra", "test")}
    external = f" and {photos['extra']:,} external" if photos["extra"] else ""
    lines = [
        f"{manifest.directory}: {photos['train']:,} training{external} and {photos['test']:,} test photos of "
        f"{manifest.class_count} classes in {counted(len(manifest.shards), 'shard')}, {size / 1e6:,.1f} MB; "
        f"{counted(len(manifest.folds), 'fold')}.",
    ]
    for name, what in LISTED.items():
        if name in manifest.lists and (count := manifest.lists[name].count):
            lines.append(f"{counted(count, *what)}: see {manifest.directory}/{name}.csv")
    training = manifest.photos("train", [fold for fold in manifest.folds if fold != 0]) + photos["extra"]
    lines += advice.after_conversion(manifest.directory, train_photos=training)
    return "\n".join(lines)
