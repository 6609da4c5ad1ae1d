"""Which columns of a CSV hold the Ids and the labels: found by what their cells say, then by their names."""

import dataclasses
import functools
import re
from collections.abc import Callable, Collection, Sequence

from carclf.convert.id_lookup import Lookup
from carclf.convert.labels import ID_COLUMNS, LABEL_COLUMNS, both_columns, columns_by_name, is_group
from carclf.convert.table import Table
from carclf.errors import UserError
from carclf.forms import Sample
from carclf.forms.evidence import number_in
from carclf.wording import first_of

LOOK_AT = 1_000  # rows that tell whether a column may hold Ids
RIVAL_FRACTION = 0.5  # of the photos of the best column: another column that names as many may be meant
DISTINCT_FRACTION = 0.9  # of the rows: a column of Ids hardly repeats itself
FEW_ROWS = 20  # in fewer, even labels may all differ
LIKE_LABELS = re.compile(r"label|class|categor|species|breed|type|kind|target|diagnos|tags?$|_id$", re.IGNORECASE)
SET_OF = "the columns that are 1"
NamedPhoto = Callable[[str], str]  # a cell → the path of the photo that it names, or ""


class Columns(tuple[int, ...]):
    """Columns of a table, in order, of which there may be thousands."""

    @functools.cached_property
    def _known(self) -> frozenset[int]:
        return frozenset(self)

    def __contains__(self, column: object) -> bool:
        """Returns whether a column is one of them."""
        return column in self._known


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What the user and the sample submission say about the columns.

    Attributes:
      id_column: the flag, or "".
      label_column: the flag, or "".
      sample: the sample submission, or None.
      group_column: the flag, or "": it holds no labels.
    """

    id_column: str = ""
    label_column: str = ""
    sample: Sample | None = None
    group_column: str = ""

    @property
    def answers(self) -> tuple[str, ...]:
        """The sample's columns that are not its Ids."""
        return tuple(name for name in self.sample.header if name != self.sample.id_column) if self.sample else ()

    def of_table(self, table: Table) -> "Wanted":
        """Returns what is said about a table: --id_column may name a column that only the sample has."""
        of_sample = self.sample is not None and self.id_column in self.sample.header
        return dataclasses.replace(self, id_column="") if of_sample and table.find(self.id_column) is None else self


@dataclasses.dataclass(frozen=True)
class Labelled:
    """A table with a column of labels.

    Attributes:
      table: the table; a column of labels may have been added.
      label: the column.
      note: about it, or "".
      sure: whether its name or its cells say that it holds labels.
      rivals: other columns that are called as labels are, and divide the photos in another way.
    """

    table: Table
    label: int
    note: str = ""
    sure: bool = True
    rivals: tuple[str, ...] = ()


def id_column(table: Table, names: NamedPhoto, wanted: Wanted, *, among: Collection[int] | None = None) -> int | None:
    """Returns the column whose cells name most photos, or None if no cell names one.

    Args:
      table: the CSV.
      names: finds the photo of a cell.
      wanted: names that count first.
      among: the columns that may be it; None for all.

    Raises:
      UserError: two columns name photos, and not the same in each row.
    """
    if wanted.id_column:
        return table.find(wanted.id_column)
    label = _label_by_name(table, wanted)
    columns = range(len(table.header))
    may = {*(columns if among is None else among)} - {label}
    counts = [_photos_named(table, c, names) if c in may else 0 for c in columns]
    own = table.find(wanted.sample.id_column) if wanted.sample else None
    if own is not None and counts[own] and counts[own] >= RIVAL_FRACTION * max(counts):
        return own
    eligible = [c for c, count in enumerate(counts) if count and _may_hold_ids(table, c)]
    best = max((counts[c] for c in eligible), default=0)
    candidates = [c for c in eligible if counts[c] >= RIVAL_FRACTION * best]
    if not candidates:
        return None
    chosen = min(candidates, key=lambda c: (_place(table.header[c], ID_COLUMNS), -counts[c], c))
    rivals = [c for c in candidates if c != chosen and disagree(table, chosen, c, names)]
    if rivals:
        shown = " and ".join(repr(table.header[c]) for c in sorted([chosen, rivals[0]]))
        raise UserError(
            f"{table.shown} has two columns that name photos, but not the same ones in each row, {shown}: say which "
            "holds the Ids with --id_column=NAME."
        )
    return chosen


def loose_id_column(
    table: Table, lookup: Lookup, wanted: Wanted, *, among: Collection[int] | None = None
) -> int | None:
    """Returns the column whose cells mean most photos when case, folders of other machines and extensions do not count.

    It is for a table of which no cell names a photo as written. A column counts if at least half of its first cells
    mean one; None is returned if there is no such column.

    Args:
      table: the CSV.
      lookup: finds all photos.
      wanted: names that count first.
      among: the columns that may be it; None for all.
    """
    known = {name.lower() for name in table.header} & {*ID_COLUMNS, *LABEL_COLUMNS}
    if wanted.id_column or not (known or wanted.label_column):
        return None
    label = _label_by_name(table, wanted)
    best, most = None, 0
    for column in range(len(table.header)) if among is None else among:
        cells = dict.fromkeys(row[column] for row in table.rows[:LOOK_AT])
        if column == label or not _may_hold_ids(table, column):
            continue
        found, _ = lookup.match(cells, table.shown)
        if len(found) > most and len(found) >= RIVAL_FRACTION * len(cells):
            best, most = column, len(found)
    return best


def _label_by_name(table: Table, wanted: Wanted) -> int | None:
    """Returns the column that is known as the labels by its name alone, or None."""
    if wanted.label_column:
        return table.find(wanted.label_column)
    found = [place for name in LABEL_COLUMNS if (place := table.find(name)) is not None]
    return found[0] if found else None


def _photos_named(table: Table, column: int, names: NamedPhoto) -> int:
    """Returns how many different photos the cells of a column name."""
    first = {row[column] for row in table.rows[:LOOK_AT]}
    if len(table.rows) > LOOK_AT and not any(map(names, first)):
        return 0
    return len({path for row in table.rows if (path := names(row[column]))})


def _may_hold_ids(table: Table, column: int) -> bool:
    usual = table.header[column].lower() in ID_COLUMNS
    return usual or len(table.values(column)) >= DISTINCT_FRACTION * len(table.rows)


def disagree(table: Table, one: int, other: int, names: NamedPhoto) -> bool:
    """Returns whether two columns of a CSV name different photos in a row."""
    paths = ((names(row[one]), names(row[other])) for row in table.rows)
    return any(first != second for first, second in paths if first or second)


def _place(name: str, known: Sequence[str]) -> int:
    return known.index(name.lower()) if name.lower() in known else len(known)


def with_labels(table: Table, ids: int, wanted: Wanted) -> "Labelled | None":
    """Returns the table with its column of labels, or None if no column is known to hold labels.

    One-hot columns become one column of labels, which is added to the table.

    Args:
      table: the CSV.
      ids: the column of its Ids.
      wanted: names and answers that count first.

    Raises:
      UserError: --label_column names the column of the Ids.
    """
    if wanted.label_column:
        place = table.find(wanted.label_column)
        if place == ids:
            raise both_columns(table.shown, table.header[ids])
        return None if place is None else Labelled(table, place)
    others = Columns(place for place in range(len(table.header)) if place != ids)
    group = table.find(wanted.group_column)
    rules = (_named_by_sample, _values_of_sample, _flags_of_sample, _usual_words, _one_hot, _usual_name, _only_other)
    fitting = (found for rule in rules if (found := rule(table, others, wanted)))
    return next((found for found in fitting if found.label != group), None)


def _named_by_sample(table: Table, others: Columns, wanted: Wanted) -> "Labelled | None":
    places = [place for name in wanted.answers if (place := table.find(name)) in others]
    return Labelled(table, places[0]) if len(places) == 1 and places[0] is not None else None


def _values_of_sample(table: Table, others: Columns, wanted: Wanted) -> "Labelled | None":
    """Finds the one column whose values are the sample's class columns, or among whose values its answers are."""
    columns = {_loose(name) for name in wanted.answers}
    fitting = [c for c in others if len(found := {_loose(v) for v in table.values(c)}) >= 2 and found <= columns]
    if len(fitting) == 1:
        return Labelled(table, fitting[0])
    labels = _answered_labels(wanted)
    holding = [c for c in others if labels and labels <= set(table.values(c))]
    return Labelled(table, holding[0]) if len(holding) == 1 else None


def _answered_labels(wanted: Wanted) -> set[str]:
    """Returns the labels in the sample's answers; where it has several columns of them, numbers are no labels."""
    sample, answers = wanted.sample, wanted.answers
    if sample is None:
        return set()
    if len(answers) == 1:
        return {label for cell in sample.cells(answers[0]) for label in cell.split()}
    cells = {cell.strip() for name in answers for cell in sample.cells(name)}
    return {cell for cell in cells if cell and number_in(cell) is None}


def _flags_of_sample(table: Table, others: Columns, wanted: Wanted) -> "Labelled | None":
    """Finds the sample's columns if they hold 0 and 1 and each row has a 1."""
    places = [place for name in wanted.answers if (place := table.find(name)) in others and place is not None]
    if len(places) < 2 or not all(_is_flag(table, c, constant=True) for c in places):
        return None
    return _from_flags(table, places, several=True)


def _one_hot(table: Table, others: Columns, wanted: Wanted) -> "Labelled | None":
    """Finds all columns of 0 and 1 if each row has exactly one 1."""
    hot = [c for c in others if _is_flag(table, c)]
    by_sample = sum(table.find(name) in others for name in wanted.answers) > 1
    found = _from_flags(table, hot, several=False) if len(hot) > 1 and not by_sample else None
    if found is None:
        return None
    names = first_of([table.header[c] for c in hot])
    note = f"The labels of {table.shown} are its columns of 0 and 1 ({names}): --label_column=NAME takes another."
    return dataclasses.replace(found, note=note)


def _from_flags(table: Table, hot: Sequence[int], *, several: bool) -> "Labelled | None":
    """Returns the table with a column that names the 1s of each row; None if a row has no 1, or more than it may."""
    sets = [[table.header[c] for c in hot if float(row[c].strip() or 0)] for row in table.rows]
    more = sum(len(one) > 1 for one in sets)
    if not all(sets) or (more and not several):
        return None
    _check_told_apart(table, sets)
    note = f"{more:,} rows of {table.shown} have several columns that are 1: the set of them is the class."
    return Labelled(table.with_column(SET_OF, map(" ".join, sets)), len(table.header), note if more else "")


def _check_told_apart(table: Table, sets: Sequence[Sequence[str]]) -> None:
    """Checks that each set of columns makes a class of its own, as 'red' and 'car' do beside 'red car' not.

    Raises:
      UserError: two sets make the same class.
    """
    known: dict[str, Sequence[str]] = {}
    for one in sets:
        name = " ".join(one)
        if (other := known.setdefault(name, one)) != one:
            shown = " and ".join(" + ".join(map(repr, columns)) for columns in sorted([other, one], key=len))
            raise UserError(
                f"{table.shown} has 1 in {shown}, which would be one class, {name!r}: write the columns' names without "
                "spaces, such as with underscores."
            )


def _is_flag(table: Table, column: int, *, constant: bool = False) -> bool:
    """Returns whether a column holds 0 and 1, or only one of them if it may be constant; a blank cell is a 0."""
    values, blank = set(table.values(column)), any(not cell.strip() for cell in table.cells(column))
    varies = len(values) > 1 or (blank and not values <= {"0", "0.0"})
    return (constant or varies) and (values <= {"0", "1"} or values <= {"0.0", "1.0"})


def _usual_words(table: Table, others: Columns, wanted: Wanted) -> "Labelled | None":
    """Finds a column with a usual name, unless it holds 0 and 1 and so may be one of several flags."""
    found = _usual_name(table, others, wanted)
    return None if found is None or _is_flag(table, found.label) else found


def _usual_name(table: Table, others: Columns, wanted: Wanted) -> "Labelled | None":
    places = [place for name in LABEL_COLUMNS if (place := table.find(name)) in others and place is not None]
    if not places:
        return None
    cells = {c: [cell.strip() for cell in table.cells(c)] for c in places}
    rivals = [c for c in places[1:] if len(table.values(c)) > 1 and not divide_alike(cells[places[0]], cells[c])]
    return Labelled(table, places[0], rivals=tuple(table.header[c] for c in rivals))


def divide_alike(one: Sequence[str], other: Sequence[str]) -> bool:
    """Returns whether two columns put the same rows together, as a number and the name of a class do."""
    pairs = set(zip(one, other, strict=True))
    return len({first for first, _ in pairs}) == len({second for _, second in pairs}) == len(pairs)


def _only_other(table: Table, others: Columns, wanted: Wanted) -> "Labelled | None":
    """Finds the other of two columns, unless each of its cells is different."""
    if len(others) != 1 or not may_hold_labels(table, others[0]):
        return None
    name = table.header[others[0]]
    if LIKE_LABELS.search(name) and not is_group(name):
        return Labelled(table, others[0])
    note = f"The labels are those of the column {name!r} of {table.shown}, the only one beside the Ids."
    return Labelled(table, others[0], note, sure=False)


def may_hold_labels(table: Table, column: int) -> bool:
    """Returns whether labels may be in a column: its cells are not all different, or they are few."""
    return len(table.rows) <= FEW_ROWS or len(table.values(column)) < len(table.rows)


def _loose(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter not in " _-")


def columns_of_list(table: Table, lookup: Lookup, wanted: Wanted) -> "tuple[Labelled, int]":
    """Returns (table with its column of labels, column of Ids) of the CSV that the user gave as --labels.

    Args:
      table: the CSV.
      lookup: finds all photos.
      wanted: names that count first.

    Raises:
      UserError: a column that a flag names is not there, or none is known to hold the labels.
    """
    for flag in (wanted.id_column, wanted.label_column):
        if flag and table.find(flag) is None:
            raise UserError(f"{table.shown} has no column {flag!r}: its columns are {', '.join(table.header)}.")
    ids = id_column(table, lookup.named, wanted)
    if ids is None:
        ids = loose_id_column(table, lookup, wanted)
    if ids is None or (wanted.label_column and table.find(wanted.label_column) == ids and not wanted.id_column):
        by_name = columns_by_name(table, id_column=wanted.id_column, label_column=wanted.label_column)
        ids = by_name[0]
    found = with_labels(table, ids, wanted)
    if found is None:
        raise UserError(
            f"{table.shown} has the columns {first_of(table.header)}: say which one holds the labels with "
            "--label_column=NAME."
        )
    return found, ids
