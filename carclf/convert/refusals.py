"""What to say when the folders of an input are no classes: which column, pattern or folder to give instead."""

import os
from collections.abc import Mapping, Sequence

from carclf.advice import argument
from carclf.convert.by_folder import folder_pattern
from carclf.convert.by_name import folder_like_pattern, likely_pattern
from carclf.convert.headers import ADD_ONE
from carclf.convert.lists import Lists
from carclf.convert.photos import Photo
from carclf.convert.roles import Roles
from carclf.convert.sources import Entry
from carclf.convert.unlabelled import Unlabelled
from carclf.errors import UserError
from carclf.wording import counted, first_of

NO_CLASSES = "no class folders and no train.csv is beside it"


def advice(entries: Sequence[Entry], lists: Lists, *, folder: str) -> str:
    """Returns what to give instead, as a clause that starts with a verb.

    Args:
      entries: the photos without classes.
      lists: of the input.
      folder: which folder to give.
    """
    if lists.unlabelled:
        return _say_which(lists.unlabelled[0])
    if lists.headless:
        return f"{ADD_ONE}, to {lists.headless[0]}"
    pattern, words = likely_pattern(entries)
    if pattern:
        names = f"if the names of the photos hold the classes ({first_of(words)})"
        return f"give --label_pattern='{pattern}' {names}, or {folder}"
    return (
        f"give {folder}, a CSV of labels with --labels=CSV, or --label_pattern=REGEX if the names of the photos hold "
        "the classes"
    )


def _say_which(one: Unlabelled) -> str:
    return f"say which column of {one.table.shown} holds the labels with --label_column=NAME ({first_of(one.columns)})"


def beside_list(one: Unlabelled, classes: Mapping[str, str]) -> UserError:
    """Returns the error about folders that may be no classes, since a list of the photos may hold the labels.

    Args:
      one: the list.
      classes: path of a photo → the folder that would be its class.
    """
    path, name = next(iter(classes.items()))
    return UserError(
        f"The folders above the photos (such as {path}: {name}) would be the classes, and {one.table.shown} names the "
        f"photos and does not divide them so: {_say_which(one)}, or give {folder_pattern(path, name)} to go by the "
        "folders."
    )


def merged_classes(classes: Mapping[str, str], several: Mapping[str, Sequence[str]], roles: Roles) -> UserError:
    """Returns the error about class folders of the same names that may be different classes.

    Args:
      classes: path of a photo → its class.
      several: class → the folders that its folders lie in.
      roles: of the photos.
    """
    name, above = next(iter(several.items()))
    path = next(path for path, category in classes.items() if category == name)
    depth = len(above[-1].split("/")) + 1
    in_names = folder_like_pattern({path: "/".join(roles.below(path)) for path in classes})
    instead = f" (or --label_pattern='{in_names}', by their names)" if in_names else ""
    return UserError(
        f"Class folders of the same names ({first_of(sorted(several))}) lie in several folders ({first_of(above)}): "
        f"give {folder_pattern(path, name, folders=depth)}{instead} if they are different classes, or "
        f"{folder_pattern(path, name)} if they are the same ones."
    )


def one_class(photos: Sequence[Photo], lists: Lists, *, source: str, refused: Sequence[Entry] = ()) -> UserError:
    """Returns the error about class folders of which there is only one.

    Args:
      photos: those of that class.
      lists: of the input.
      source: the input.
      refused: files that must not be read, such as those of a class that therefore has no photos.
    """
    category, path = photos[0].category, photos[0].entry.path
    instead = advice([photo.entry for photo in photos], lists, folder=_above(source))
    others = ""
    if refused:
        count = counted(len(refused), "file was", "files were")
        others = f"; {count} refused (first: {refused[0].path}: {refused[0].problem})"
    return UserError(
        f"All {len(photos):,} training photos would be of one class, {category} (such as {path}){others}: {instead}."
    )


def _above(source: str) -> str:
    """Returns the folder above an input, if it holds more folders, in words."""
    parent = os.path.dirname(os.path.abspath(source))
    if os.path.isdir(source) and parent != os.path.abspath(source):
        with os.scandir(parent) as items:
            if sum(item.is_dir() and not item.name.startswith(".") for item in items) > 1:
                return f"{argument('input', parent)} if its folders are the classes"
    return "the folder above the class folders"


def flat_training(entries: Sequence[Entry], lists: Lists, *, beside: Sequence[str]) -> UserError:
    """Returns the error about a folder of training photos without classes in it.

    Args:
      entries: its photos.
      lists: of the input.
      beside: the folders beside it that hold photos, too.
    """
    where = f"The photos of train/ (such as {entries[0].path}) lie in no class folders"
    if lists.unlabelled or lists.headless:
        return UserError(f"{where}: {advice(entries, lists, folder='')}.")
    where = f"The photos of train/ lie in {NO_CLASSES}"
    if beside:
        return UserError(
            f"{where}: give --labels=CSV, or if train is a class such as {first_of(beside)}, "
            "--label_pattern='([^/]+)/[^/]+$'."
        )
    pattern, words = likely_pattern(entries)
    if pattern:
        return UserError(
            f"{where}: give --labels=CSV, or --label_pattern='{pattern}' if the names of the photos hold the classes "
            f"({first_of(words)})."
        )
    return UserError(
        f"{where}: give --labels=CSV, or --label_pattern=REGEX if the paths of the photos hold the classes."
    )


def unlabelled_records(entries: Sequence[Entry], lists: Lists) -> UserError:
    """Returns the error about photos in files of records, of which none has a label.

    Args:
      entries: the photos.
      lists: of the input.
    """
    instead = "give --labels=CSV, or --label_pattern=REGEX if the paths of the photos hold the classes"
    if lists.unlabelled or lists.headless:
        instead = advice(entries, lists, folder="")
    return UserError(f"The records give none of their photos a label (such as {entries[0].path}): {instead}.")


def wrong_names(
    classes: Mapping[str, str], wrong: Mapping[str, str], lists: Lists, entries: Sequence[Entry]
) -> UserError:
    """Returns the error about class folders with the names of other things.

    Args:
      classes: path of a photo → its class.
      wrong: path → name, of the photos below a folder that is called as no class is.
      lists: of the input.
      entries: the photos.
    """
    names, path = sorted(set(wrong.values())), next(iter(wrong))
    others = [other.rpartition("/")[0] for other in classes if other not in wrong]
    above = os.path.commonpath([folder.rpartition("/")[0] or "." for folder in others]) if others else ""
    folder = f"the folder {above}/ alone" if above not in ("", ".") else "the folder directly above the class folders"
    are = "is none" if len(names) == 1 else "are none"
    return UserError(
        f"The folders above the photos would be the classes, and {first_of(names)} {are} (such as {path}): "
        f"{f'give {folder}' if others else advice(entries, lists, folder=folder)}."
    )
