"""Finds the label and the split of every photo: by list, by folder, or by name."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Sequence

from carclf.convert import by_name, refusals
from carclf.convert.by_folder import by_folder, folder_classes, merged, other_folders
from carclf.convert.by_list import as_tests, by_label, no_tests, none_named, rank_for, with_folders
from carclf.convert.groups import grouped, pair_note
from carclf.convert.id_lookup import Lookup
from carclf.convert.labels import LabelFile
from carclf.convert.left_out import left_out
from carclf.convert.list_files import list_files
from carclf.convert.lists import Lists, find_lists
from carclf.convert.options import ConvertOptions
from carclf.convert.photos import Findings, Photo, ids_of
from carclf.convert.roles import ANNOTATION, TEST, TRAIN, VALIDATION, Roles
from carclf.convert.sources import Entry
from carclf.convert.tree import Tree, is_photo
from carclf.errors import UserError
from carclf.wording import counted, first_of


@dataclasses.dataclass(frozen=True)
class Layout:
    """An input as it was understood: its name in messages, its photos, its lists."""

    name: str
    photos: list[Photo]
    lists: Lists


def read_layout(tree: Tree, options: ConvertOptions, findings: Findings) -> Layout:
    """Returns the photos of an input with their labels and splits.

    Args:
      tree: the files of the input.
      options: of the converter.
      findings: added to.

    Raises:
      UserError: the photos have no labels, or labels and photos contradict each other.
    """
    entries = [entry for entry in tree.entries if is_photo(entry) or entry.path in tree.records]
    _note_other_files(tree, findings)
    roles = Roles(entry.path for entry in entries)
    lookup = Lookup(entries)
    lists = find_lists(tree, options, lookup=lookup, roles=roles, findings=findings)
    return _Reading(tree, options, findings, entries, roles, lookup, lists).read()


def _note_other_files(tree: Tree, findings: Findings) -> None:
    known = [*tree.records, *(e.path for e in tree.entries if is_photo(e)), *(e.path for e in list_files(tree))]
    maps = [e.path for e in tree.entries if "/" not in e.path and e.path.lower().endswith(".json")]
    others = sorted({entry.path for entry in tree.entries} - {*known, *maps})
    if others:
        count = counted(len(others), "file is not a photo", "files are not photos")
        findings.notes.append(f"{count}, left out: {first_of(others)}.")


@dataclasses.dataclass(frozen=True)
class _Reading:
    """An input while its layout is read."""

    tree: Tree
    options: ConvertOptions
    findings: Findings
    entries: list[Entry]
    roles: Roles
    lookup: Lookup
    lists: Lists

    def read(self) -> Layout:
        """Returns the layout."""
        if self.options.label_pattern:
            train, tests = self._by_pattern(self.options.label_pattern)
            name = f"{self.tree.container} of photos that --label_pattern labels"
        elif self.lists.labels:
            train, tests = self._by_list(self.lists.labels)
            name = self._name_of_list(self.lists.labels)
        elif any(photo.label for photo in self.tree.records.values()):
            train, tests = self._by_record()
            name = f"{self.tree.container} of records that hold photos"
        else:
            train, tests = self._by_folder()
            name = self._name_of_folders()
        if self.options.group_column and train:
            train = grouped(
                train,
                self.options.group_column,
                tree=self.tree,
                labels=self.lists.labels,
                lookup=self.lookup,
                roles=self.roles,
                findings=self.findings,
            )
        elif note := pair_note(train):
            self.findings.notes.append(note)
        used = {photo.entry.path for photo in (*train, *tests)}
        left = [entry.path for entry in self.entries if entry.path not in used]
        unlabelled = [path for path, photo in self.tree.records.items() if not photo.label]
        self.findings.notes += left_out(left, self.roles, self.lists, splits=self._splits, unlabelled=unlabelled)
        self._check_classes(train)
        return Layout(name, [*train, *tests], self.lists)

    @functools.cached_property
    def _splits(self) -> bool:
        """Returns whether a folder is known to hold the training photos."""
        return any(self.roles.role(entry.path) == TRAIN for entry in self.entries)

    @functools.cached_property
    def _candidates(self) -> list[Entry]:
        """Returns the photos that may be training photos, according to the folders above them."""
        wanted = (TRAIN, VALIDATION) if self._splits else ("", VALIDATION)
        return [entry for entry in self.entries if self.roles.role(entry.path) in wanted]

    def _name_of_list(self, labels: LabelFile) -> str:
        by_flag = bool(self.options.labels)
        if self._splits and not by_flag:
            return f"competition {self.tree.container}"
        return f"{self.tree.container} of photos with {labels.shown}"

    def _name_of_folders(self) -> str:
        if not self._splits:
            return f"{self.tree.container} of class folders"
        kind = "competition" if self.lists.sample else "train and test class folders in a"
        return f"{kind} {self.tree.container}"

    def _by_list(self, labels: LabelFile) -> tuple[list[Photo], list[Photo]]:
        theirs = self._named_by(self.lists.tests)
        rank = rank_for("train", self.roles)
        listed = by_label(self.lookup, labels, split="train", rank=rank, findings=self.findings, taken=theirs)
        inside = [photo for photo in listed if self.roles.below_test(photo.entry.path)]
        train = [photo for photo in listed if not self.roles.below_test(photo.entry.path)]
        if not self.options.labels:
            train = self._with_folders(train, labels)
        if self.entries and not train:
            raise none_named(labels, self._candidates or self.entries)
        tests = self._tests(train)
        if inside and not self.lists.tests:
            known = {photo.entry.path for photo in inside}
            tests = as_tests(inside) + [photo for photo in tests if photo.entry.path not in known]
        if inside:
            self.findings.notes.append(
                f"{len(inside):,} photos of {labels.shown} lie below a folder of test photos, so they are not training "
                f"photos: {first_of([photo.entry.path for photo in inside])}."
            )
        return train, tests

    def _with_folders(self, train: list[Photo], labels: LabelFile) -> list[Photo]:
        """Returns the training photos after comparing the list with the class folders, if there are any."""
        elsewhere = {*self._named_by(self.lists.tests), *self.tree.records}  # the folders of records only number them
        candidates = [entry for entry in self._candidates if entry.path not in elsewhere]
        try:
            classes = folder_classes(candidates, self.roles)
        except UserError:  # the list does not need them
            return train
        if len(set(classes.values())) < 2:
            return train
        listed = {photo.entry.path for photo in train}
        others = [entry for entry in candidates if entry.path in classes and entry.path not in listed]
        unlisted = [
            Photo(photo_id, "train", classes[entry.path], entry)
            for photo_id, entry in zip(self._ids_of(others), others, strict=True)
        ]
        by_flag = bool(self.options.label_column)
        return with_folders(train, classes, unlisted, labels=labels, by_flag=by_flag, findings=self.findings)

    def _named_by(self, labels: LabelFile | None) -> list[str]:
        """Returns the paths of the photos that a list of test photos names exactly."""
        if labels is None:
            return []
        rank = rank_for("test", self.roles)
        found = (self.lookup.get(name, labels.shown, rank=rank) for name in map(labels.file_of, labels.labels))
        return [entry.path for entry in found if entry and self.roles.role(entry.path) not in (TRAIN, VALIDATION)]

    def _tests(self, train: Sequence[Photo]) -> list[Photo]:
        """Returns the test photos: those that a list names, else those below a folder of test photos."""
        taken = {photo.entry.path for photo in train}
        if self.lists.tests is None:
            entries = [e for e in self.entries if self._is_test(e) and e.path not in taken]
            return [Photo(i, "test", "", e) for i, e in zip(self._ids_of(entries), entries, strict=True)]
        barred = {e.path for e in self._candidates if self._splits} | taken
        tests = by_label(
            self.lookup,
            self.lists.tests,
            split="test",
            rank=rank_for("test", self.roles),
            findings=self.findings,
            barred=barred,
        )
        apart = [e for e in self.entries if e.path not in barred and self.roles.role(e.path) in (TEST, "")]
        if apart and not tests and self.options.on_bad == "fail":
            raise no_tests(self.lists.tests, apart)
        return tests

    def _is_test(self, entry: Entry) -> bool:
        """Returns whether a photo is one to predict: by its folder, or by its record, which has no label."""
        role, record = self.roles.role(entry.path), self.tree.records.get(entry.path)
        return role == TEST or (not role and record is not None and not record.label)

    def _ids_of(self, entries: Sequence[Entry]) -> list[str]:
        """Returns the Ids of photos that no list names."""
        given = [self.tree.records[e.path].id for e in entries if e.path in self.tree.records]
        if len(given) < len(entries):
            return ids_of(entries, self.roles)
        times = Counter(given)
        return [i if times[i] == 1 else entry.path for i, entry in zip(given, entries, strict=True)]

    def _by_record(self) -> tuple[list[Photo], list[Photo]]:
        labels = {path: photo.label for path, photo in self.tree.records.items() if photo.label}
        entries = [entry for entry in self._candidates if entry.path in labels]
        train = [Photo(i, "train", labels[e.path], e) for i, e in zip(self._ids_of(entries), entries, strict=True)]
        return train, self._tests(train)

    def _by_folder(self) -> tuple[list[Photo], list[Photo]]:
        if records := [entry for entry in self.entries if entry.path in self.tree.records]:
            raise refusals.unlabelled_records(records, self.lists)  # the folders above them only number them
        apart = self._apart()
        entries = [entry for entry in self._candidates if entry.path not in apart]
        if pattern := self._usual_pattern(entries):
            train = by_name.by_pattern(entries, self.roles, pattern, split="train", findings=self.findings)
            return train, self._tests(train)
        train = by_folder(entries, self.roles, split="train", findings=self.findings)
        classes = {photo.entry.path: photo.category for photo in train}
        if self._splits and not train:
            others = {e.path.split("/")[0] for e in self.entries if "/" in e.path and not self.roles.role(e.path)}
            raise refusals.flat_training(entries, self.lists, beside=sorted(others))
        wrong = other_folders(classes, self.roles)
        if not self._splits:  # a folder called val beside class folders is no split
            held = (e.path for e in entries if self.roles.role(e.path) == VALIDATION and e.path not in classes)
            wrong |= {path: path.split("/")[-2] for path in held}
        if wrong:
            raise refusals.wrong_names(classes, wrong, self.lists, entries)
        if doubtful := next((one for one in self.lists.unlabelled if one.doubts(classes)), None):
            raise refusals.beside_list(doubtful, classes)
        if several := merged(classes, self.roles):
            raise refusals.merged_classes(classes, several, self.roles)
        return train, self._tests(train)

    def _apart(self) -> set[str]:
        """Returns the photos that the sample names in folders of which it names every photo."""
        named_ones = set(self._named_by(self.lists.tests))
        others = {e.path.rpartition("/")[0] for e in self.entries if e.path not in named_ones}
        return {path for path in named_ones if path.rpartition("/")[0] not in others}

    def _usual_pattern(self, entries: Sequence[Entry]) -> str:
        """Returns the pattern of names such as cat.0.jpg if no training photo lies in a class folder, with a note."""
        flat = all(not self.roles.below(entry.path) for entry in entries)
        split = self._splits or self.lists.tests or any(self.roles.role(e.path) == TEST for e in self.entries)
        pattern = by_name.usual_pattern(entries) if flat and split and entries else ""
        if pattern:
            self.findings.notes.append(
                f"The class of each training photo is the word in its name: --label_pattern='{pattern}'."
            )
        return pattern

    def _by_pattern(self, pattern: str) -> tuple[list[Photo], list[Photo]]:
        apart = self._apart()
        others = (TEST, ANNOTATION)
        entries = [e for e in self.entries if self.roles.role(e.path) not in others and e.path not in apart]
        train = by_name.by_pattern(entries, self.roles, pattern, split="train", findings=self.findings)
        return train, self._tests(train)

    def _check_classes(self, train: Sequence[Photo]) -> None:
        """Notes training photos of one class, and refuses class folders of which there is only one."""
        categories = {photo.category for photo in train}
        if len(categories) != 1:
            return
        category = train[0].category
        if self.options.labels:
            return
        if self.lists.labels:
            self.findings.notes.append(
                f"{self.lists.labels.shown} gives every photo the label {category} (in the column "
                f"{self.lists.labels.label_column!r}): --label_column=NAME takes another."
            )
            return
        raise refusals.one_class(train, self.lists, source=self.options.input, refused=self.tree.refused)
