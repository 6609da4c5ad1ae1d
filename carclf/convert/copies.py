"""Photos that an input holds twice: a folder inside another with the same files, or the same files in several sizes."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from carclf.convert.file_kinds import holds_files
from carclf.convert.sources import Entry
from carclf.wording import first_of

_RESOLUTION = re.compile(r"(?<!\d)(\d{2,4})x(\d{2,4})(?!\d)")
_ANY = "*x*"


def without_copies(entries: Sequence[Entry], notes: list[str]) -> list[Entry]:
    """Returns the entries without folders of which all files lie in the folder above, too, with the same sizes."""
    sizes = {entry.path: entry.size for entry in entries}
    files: Counter[str] = Counter()
    twins: Counter[str] = Counter()
    deep: set[str] = set()
    for entry in entries:
        parts = entry.path.split("/")
        for place in range(1, len(parts)):
            folder, twin = "/".join(parts[:place]), "/".join([*parts[: place - 1], *parts[place:]])
            files[folder] += 1
            twins[folder] += sizes.get(twin) == entry.size
            if len(parts) - place > 1:
                deep.add(folder)
    copies = sorted(folder for folder in deep if files[folder] == twins[folder])
    if not copies:
        return list(entries)
    notes.append(
        f"{first_of([f'{folder}/' for folder in copies])} holds the same files as the folder above it and was left out."
    )
    inside = tuple(f"{folder}/" for folder in copies)
    return [entry for entry in entries if not entry.path.startswith(inside)]


def largest_only(entries: Sequence[Entry], notes: list[str]) -> list[Entry]:
    """Returns the entries of the largest of folders that differ only in a resolution, such as jpeg-192x192."""
    files: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for entry in entries:
        parts = entry.path.split("/")
        for place, name in enumerate(parts[:-1]):
            if _RESOLUTION.search(name):
                family = ("/".join(parts[:place]), _RESOLUTION.sub(_ANY, name))
                files[family]["/".join(parts[: place + 1])].add(_RESOLUTION.sub(_ANY, "/".join(parts[place + 1 :])))
    left: list[str] = []
    for sizes in files.values():
        largest = max(sizes, key=_pixels)
        whole = any("/" in path or holds_files(path) for path in sizes[largest])  # more than a class folder
        smaller = [folder for folder in sizes if whole and folder != largest and sizes[folder] == sizes[largest]]
        if smaller:
            not_taken = first_of(smaller)
            notes.append(f"Of the same files in several sizes {largest}/ was taken, the largest; not {not_taken}.")
            left += [f"{folder}/" for folder in smaller]
    return [entry for entry in entries if not entry.path.startswith(tuple(left))] if left else list(entries)


def _pixels(folder: str) -> int:
    found = _RESOLUTION.search(folder.rpartition("/")[2])
    return int(found[1]) * int(found[2]) if found else 0
