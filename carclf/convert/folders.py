"""The files of a folder: leaves out clutter and follows symbolic links only to allowed places."""

import os
from collections.abc import Iterator, Sequence

from carclf.convert.sources import CLUTTER, Entry, clutter_folder, name_problem
from carclf.lock import LOCK_FILE

# Files that mark a folder as a data set or a run of carclf, and the content that other programs' files lack.
OWN_FILES = ("dataset.json", "stage.json")
OWN_SIGN = b'"format_version"'  # one of the first entries


def folder_entries(root: str, *, source: int, prefix: str = "") -> list[Entry]:
    """Returns the files under a folder and the empty folders, clutter left out.

    Symbolic links to files are followed inside the folder and into `cache_folders`; others carry a problem.
    """
    inside = (os.path.realpath(root), *cache_folders(root))
    return sorted(_walk(root, "", inside, source, prefix), key=lambda entry: entry.path)


def cache_folders(root: str) -> list[str]:
    """Returns the cache folders that programs link to: Hugging Face's, DVC's, and XDG's.

    Source: huggingface_hub's "Understand caching", DVC's "Internal directories and files".
    """
    home = os.path.expanduser("~")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    folders = [cache, os.environ.get("HF_HOME") or os.path.join(cache, "huggingface"), os.environ.get("HF_HUB_CACHE")]
    above = os.path.realpath(root)
    while above != os.path.dirname(above):
        folders.append(os.path.join(above, ".dvc", "cache"))
        if os.path.basename(above) == "snapshots":  # the files themselves are in a folder beside it
            folders.append(os.path.join(os.path.dirname(above), "blobs"))
        above = os.path.dirname(above)
    return [os.path.realpath(folder) for folder in folders if folder and os.path.isdir(folder)]


def _walk(root: str, below: str, inside: Sequence[str], source: int, prefix: str) -> Iterator[Entry]:
    with os.scandir(os.path.join(root, below)) as found:
        items = list(found)
        if below and _is_own(items):
            yield Entry(prefix + below[:-1], source, below[:-1], 0, clutter=prefix + below)
            return
        if below and not items:
            yield Entry(prefix + below, source, below, 0, empty=True)
        for item in items:
            name = f"{below}{item.name}"
            if CLUTTER.search(name):
                continue
            if item.is_dir(follow_symlinks=False):
                if clutter := clutter_folder(f"{name}/"):  # it may be unreadable, as lost+found is
                    yield Entry(prefix + name, source, name, 0, clutter=prefix + clutter)
                else:
                    yield from _walk(root, f"{name}/", inside, source, prefix)
                continue
            link = item.is_symlink()
            problem = name_problem(name) or _link_problem(item, inside)
            size = 0 if problem else item.stat().st_size
            shown = name.encode("utf-8", "backslashreplace").decode()
            yield Entry(prefix + (shown if problem else name), source, name, size, problem, link=link)


def _is_own(items: Sequence[os.DirEntry[str]]) -> bool:
    """Returns whether a folder is a data set or a run of carclf, finished or in the making: its files are copies."""
    return any(
        item.name == LOCK_FILE or (item.name in OWN_FILES and item.is_file() and _is_signed(item.path))
        for item in items
    )


def _is_signed(path: str) -> bool:
    with open(path, "rb") as file:
        return OWN_SIGN in file.read(200)


def _link_problem(item: os.DirEntry[str], inside: Sequence[str]) -> str:
    """Returns why the item is not a file to read, or ""."""
    if item.is_symlink():
        target = os.path.realpath(item.path)
        if not any(target.startswith(folder + os.sep) for folder in inside):
            return "symbolic link that leaves the folder"
        is_file = os.path.isfile(item.path)  # a link may form a loop
    else:
        is_file = item.is_file()
    if is_file:
        return ""
    return "symbolic link to a folder" if os.path.isdir(item.path) else "not a regular file"
