"""What a sample submission shows: its possible columns of answers, and the cells in them."""

import collections
import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from carclf.errors import UserError
from carclf.forms.form import Form
from carclf.forms.sample_file import Sample
from carclf.wording import first_of

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_IGNORED = re.compile(r"[\s_-]+")
_NUMBERED = re.compile(r"(.*?)0*(\d+)")
DEFAULT_COLUMN = "label"  # of answers, where the sample has Ids only


class Recognised(NamedTuple):
    """A recognised form, and the notes about it, one sentence each."""

    form: Form
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Evidence:
    """A sample as its form is recognised from it.

    Attributes:
      sample: the sample.
      classes: the labels of the classes as the competition writes them, in label order.
      columns: the columns that are not the Ids.
      answer: the one column of answers; "" if it is not known which.
      cells: the different texts in that column, without spaces around them and without empty ones.
      positive: the class that the user named as the positive one, or "".
      k: the labels in a cell that the user asked for, or 0.
    """

    sample: Sample
    classes: tuple[str, ...]
    columns: tuple[str, ...]
    answer: str
    cells: tuple[str, ...]
    positive: str = ""
    k: int = 0

    @property
    def shown(self) -> str:
        """The sample's name in messages."""
        return self.sample.shown

    def form(self, kind: str, *, columns: Sequence[str] = (), **details: Any) -> Form:
        """Returns a form of that kind on these columns, by default on the column of answers; new ones come last."""
        answers = tuple(columns) or (self.answer,)
        own, chosen = set(self.sample.header), set(answers)
        header = (*self.sample.header, *(name for name in answers if name not in own))
        id_column = "" if self.sample.id_column == header[0] else self.sample.id_column
        ordered = tuple(name for name in header if name in chosen)
        own_layout: dict[str, Any] = {"header": header, "id_column": id_column, "has_header": self.sample.has_header}
        return Form(kind=kind, answer_columns=ordered, **own_layout, **details)


def gather(sample: Sample, classes: Sequence[str], *, positive: str, k: int, label_column: str) -> Evidence:
    """Returns the evidence in a sample; `label_column` names the answers where several columns could be."""
    columns = tuple(name for name in sample.header if name != sample.id_column)
    answer = columns[0] if len(columns) == 1 else _named_like(label_column, columns)
    if not columns:
        answer = label_column if label_column not in ("", sample.id_column) else DEFAULT_COLUMN
    texts = sample.cells(answer) if answer in columns else ()
    cells = tuple(dict.fromkeys(text for cell in texts if (text := cell.strip())))
    return Evidence(
        sample=sample, classes=tuple(classes), columns=columns, answer=answer, cells=cells, positive=positive, k=k
    )


def _named_like(name: str, columns: Sequence[str]) -> str:
    if not name or not columns:
        return ""
    return name if name in columns else loose_matches(columns, [name]).get(name, "")


def loose_matches(names: Iterable[str], wanted: Sequence[str]) -> dict[str, str]:
    """Returns wanted → the one of `names` that equals it but for letter case, spaces, underscores and hyphens."""
    names = list(names)
    known = set(names)
    found = {text: text for text in wanted if text in known}
    taken = set(found.values())
    by_key: dict[str, list[str]] = {}
    for name in names:
        by_key.setdefault(_key(name), []).append(name)
    keys = [_key(text) for text in wanted]
    times = collections.Counter(keys)
    for text, key in zip(wanted, keys, strict=True):
        near = by_key.get(key, [])
        if text not in found and len(near) == 1 and times[key] == 1 and near[0] not in taken:
            found[text] = near[0]
            taken.add(near[0])
    return found


def _key(name: str) -> str:
    return _IGNORED.sub("", name).casefold()


def wrapped_matches(names: Sequence[str], wanted: Sequence[str]) -> dict[str, str]:
    """Returns wanted → its one of `names` if all of these are a wanted text in the same words, as in 'p_cat', 'p_dog'.

    Otherwise returns nothing.
    """
    for text in wanted:
        before, found, after = names[0].partition(text)
        if not found:
            continue
        inner = {
            name.removeprefix(before).removesuffix(after): name
            for name in names
            if name.startswith(before) and name.endswith(after)
        }
        matches = loose_matches(inner, wanted)
        if len(matches) == len(wanted):
            return {match: inner[name] for match, name in matches.items()}
    return {}


def number_in(text: str) -> float | None:
    """Returns the number that a cell holds, or None."""
    return float(text) if _NUMBER.fullmatch(text.strip()) else None


def is_fraction(text: str) -> bool:
    """Returns whether a cell holds a number between 0 and 1."""
    number = number_in(text)
    return number is not None and 0.0 <= number <= 1.0


def digits(value: float) -> str:
    """Returns a probability with 7 significant digits, so that a small one does not become 0."""
    return f"{value:.7g}"


def require_answer(evidence: Evidence) -> None:
    """Checks that one column holds the answers.

    Raises:
      UserError: several could.
    """
    if evidence.answer:
        return
    columns = (
        f"{evidence.shown} has the columns {first_of(evidence.columns)} beside its Ids, and they are not the classes "
        f"({first_of(evidence.classes)})"
    )
    copy = "a copy of it with one column of answers as --sample=FILE"
    if rank_columns(evidence):
        raise UserError(f"{columns}: give {copy}, or --form=ranking if they hold the likeliest labels in order.")
    raise UserError(f"{columns}: give {copy}.")


def rank_columns(evidence: Evidence) -> tuple[str, ...]:
    """Returns the columns that could hold a ranking, such as prediction1, prediction2, prediction3, likeliest first.

    They share a name and are numbered from 1 or 0 on; columns without names have their places' numbers. Returns nothing
    if one column holds the answers.
    """
    numbered: dict[str, list[tuple[int, str]]] = {}
    for name in () if evidence.answer else evidence.columns:
        if found := _NUMBERED.fullmatch(name):
            numbered.setdefault(found[1], []).append((int(found[2]), name))
    runs = [run for run in numbered.values() if len(run) > 1]
    if len(runs) != 1:
        return ()
    numbers = [number for number, _ in runs[0]]
    first = numbers[0]
    starts = first in (0, 1) or not evidence.sample.has_header
    in_order = numbers == list(range(first, first + len(numbers)))
    return tuple(name for _, name in runs[0]) if starts and in_order else ()
