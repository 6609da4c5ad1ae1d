"""Writes submission.csv with exactly the sample's Ids, each once, in its order, or writes no file."""

import contextlib
import csv
import importlib.util
import io
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from carclf.errors import UserError
from carclf.files import write_atomically
from carclf.forms import Form, Sample, kind_of
from carclf.wording import counted

EXTRA_COLUMNS = ("top_class", "margin")


def default_form() -> Form:
    """Returns the form of a submission where no sample says another: Ids and labels."""
    return Form("label", header=("Id", "Category"), answer_columns=("Category",))


def write_submission(
    *,
    output: Path,
    ids: Sequence[str],
    probabilities: np.ndarray,
    class_labels: Sequence[str],
    form: Form | None = None,
    sample: Sample | None = None,
    labels: np.ndarray | None = None,
) -> dict[str, tuple[str, ...]]:
    """Writes the answers in the form of the competition, and returns their cells by Id in the written order.

    Args:
      output: the file, replaced only by a complete one.
      ids: of the N predicted photos.
      probabilities: float [N, K], each row summing to 1.
      class_labels: the K labels as the competition writes them.
      form: of the answers; None is `default_form()`.
      sample: gives the Ids, their order and the cells of all other columns; None writes `ids` in their own order, and
        only the columns of the form that hold Ids and answers.
      labels: int [N], the class decided on for each photo; None is the likeliest, the first of equal ones.

    Raises:
      UserError: a probability is not finite, `ids` are not those of the sample, the sample lacks a column of the form,
        or an answer is not what the form allows. Then no file is written.
    """
    form = form or default_form()
    order = _checked_order(ids, probabilities, order=sample.ids if sample else None)
    labels = probabilities.argmax(axis=1) if labels is None else labels
    cells = kind_of(form).cells(form, probabilities=probabilities, labels=labels, class_labels=class_labels)
    by_id = dict(zip(ids, cells, strict=True))
    answers = {name: by_id[name] for name in order}
    check_answers(answers, form=form, class_labels=class_labels)
    header, rows = _rows(answers, form=form, sample=sample)
    write_rows([*([header] if form.has_header else []), *rows], output, delimiter=sample.delimiter if sample else ",")
    return answers


def check_answers(answers: Mapping[str, Sequence[str]], *, form: Form, class_labels: Sequence[str]) -> None:
    """Checks each answer: as many cells as the form has columns, known labels, numbers in 0..1, rows that sum to 1.

    Raises:
      UserError: one is not what the form allows.
    """
    kind, known = kind_of(form), frozenset(class_labels)
    for name, cells in answers.items():
        fits = len(cells) == len(form.answer_columns)
        problem = kind.problem(form, cells, class_labels=known) if fits else f"it has {len(cells)} cells"
        if problem:
            raise UserError(
                f"The answer for {name} is not {kind.summary} ({problem}), so nothing was written: predict with the "
                "data set of the runs."
            )


def _rows(
    answers: Mapping[str, Sequence[str]], *, form: Form, sample: Sample | None
) -> tuple[tuple[str, ...], Iterator[Sequence[str]]]:
    """Returns the header and the rows, in the order of the answers."""
    if sample is None:
        written = {form.id_name, *form.answer_columns}
        ordered = tuple(name for name in form.header if name in written)
        place = ordered.index(form.id_name)
        return ordered, ([*cells[:place], name, *cells[place:]] for name, cells in answers.items())
    own = set(sample.header)
    header = (*sample.header, *(name for name in form.answer_columns if name not in own))
    place_of = {name: place for place, name in enumerate(header)}
    if missing := [name for name in form.header if name not in place_of]:
        raise UserError(
            f"{sample.shown} has no column {missing[0]!r}, but the form of the answers does: give the sample that the "
            "photos were converted with."
        )
    places = [place_of[name] for name in form.answer_columns]
    added = [""] * (len(header) - len(sample.header))

    def filled(row: Sequence[str], cells: Sequence[str]) -> list[str]:
        whole = [*row, *added]
        for place, cell in zip(places, cells, strict=True):
            whole[place] = cell
        return whole

    return header, (filled(row, answers[name]) for row, name in zip(sample.rows, sample.ids, strict=True))


def check_ids(ids: Sequence[str], *, order: Sequence[str] | None) -> None:
    """Checks that the photos are exactly those of the sample, each once.

    Args:
      ids: of the photos.
      order: the sample's Ids; None without a sample.

    Raises:
      UserError: they are not.
    """
    if len(set(ids)) != len(ids):
        raise UserError(
            "Two photos have the same Id, so nothing was written: convert the photos again with --overwrite."
        )
    if order is None:
        return
    missing, extra = sorted(set(order) - set(ids)), sorted(set(ids) - set(order))
    if missing or extra:
        without = counted(len(missing), "Id of the sample has", "Ids of the sample have")
        outside = counted(len(extra), "photo is", "photos are")
        raise UserError(
            f"The data set and the sample submission do not have the same Ids ({without} "
            f"no photo{_first(missing)}; {outside} not in the sample{_first(extra)}), so nothing was "
            "written: give the right sample with --sample=FILE, or convert the right photos."
        )


def write_probabilities(
    *,
    output: Path,
    ids: Sequence[str],
    probabilities: np.ndarray,
    class_names: Sequence[str],
    id_name: str = "Id",
    order: Sequence[str] | None = None,
) -> None:
    """Writes one row per photo: its Id, the probability of every class, the top class and its margin over the second.

    A class with the name of another column gets the prefix "class ", as often as it takes to be the only one.

    Args:
      output: the file, .csv or .parquet, replaced only by a complete one.
      ids: of the N predicted photos.
      probabilities: float [N, K].
      class_names: the K classes.
      id_name: the name of the first column.
      order: the sample's Ids; None writes `ids` in their own order.

    Raises:
      UserError: a probability is not finite, `ids` and `order` are not the same set, or pyarrow is missing. Then no
        file is written.
    """
    order = _checked_order(ids, probabilities, order=order)
    index = {name: number for number, name in enumerate(ids)}
    probabilities = probabilities[[index[name] for name in order]]
    names = _column_names(class_names, taken=(id_name, *EXTRA_COLUMNS))
    columns: dict[str, list[str] | np.ndarray] = {id_name: order}
    columns |= {name: probabilities[:, k].round(7) for k, name in enumerate(names)}
    frame = pd.DataFrame(columns)
    ordered = np.sort(probabilities, axis=1)
    margin = ordered[:, -1] - ordered[:, -2] if ordered.shape[1] > 1 else ordered[:, -1]
    top_class = [class_names[k] for k in probabilities.argmax(axis=1)]
    frame = frame.assign(**dict(zip(EXTRA_COLUMNS, (top_class, margin.round(7)), strict=True)))
    if output.suffix.lower() == ".parquet":
        require_parquet()
        _write(frame.to_parquet(index=False), output)
    else:
        write_table(frame, output)


def _column_names(class_names: Sequence[str], *, taken: Sequence[str]) -> list[str]:
    """Returns a name for the column of each class that no other column has."""
    used = {*taken, *class_names}
    names = []
    for name in class_names:
        column = name
        if name in taken:
            while column in used:
                column = f"class {column}"
            used.add(column)
        names.append(column)
    return names


def require_parquet() -> None:
    """Checks that Parquet can be written.

    Raises:
      UserError: pyarrow is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise UserError("Parquet needs pyarrow, which is not installed: pip install pyarrow, or write a .csv.")


def _checked_order(ids: Sequence[str], probabilities: np.ndarray, *, order: Sequence[str] | None) -> list[str]:
    """Returns the order of the rows to write, after checking everything else."""
    finite = np.isfinite(probabilities).all(axis=1)
    if not finite.all():
        bad = [ids[i] for i in np.flatnonzero(~finite)[:5]]
        raise UserError(
            f"{int((~finite).sum())} photos have probabilities that are not finite (first: {', '.join(bad)}), so "
            "nothing was written: train the run again with --overwrite and a lower --learning_rate, --clip_norm=1 or "
            "--precision=float32."
        )
    check_ids(ids, order=order)
    return list(ids if order is None else order)


def _first(ids: Sequence[str]) -> str:
    return f", such as {ids[0]!r}" if ids else ""


def write_table(frame: pd.DataFrame, output: Path) -> None:
    """Writes a CSV under a temporary name and renames it.

    Raises:
      UserError: it cannot be written.
    """
    # File names may contain bytes that are not UTF-8; they are written unchanged.
    _write(frame.to_csv(index=False, lineterminator="\n").encode("utf-8", errors="surrogateescape"), output)


def write_rows(rows: Iterable[Sequence[str]], output: Path, *, delimiter: str = ",") -> None:
    """Writes rows as a CSV under a temporary name and renames it.

    Raises:
      UserError: it cannot be written.
    """
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    _write(text.getvalue().encode("utf-8", errors="surrogateescape"), output)


def check_writable(output: Path) -> None:
    """Checks that a file can be written, without writing it.

    Raises:
      UserError: it cannot.
    """
    if output.is_dir():
        raise UserError(f"{output} is a folder: name a file in it.")
    with _one_sentence(output), tempfile.TemporaryFile(dir=output.parent):
        pass


def _write(content: bytes, output: Path) -> None:
    with _one_sentence(output):
        write_atomically(output, content)


@contextlib.contextmanager
def _one_sentence(output: Path) -> Iterator[None]:
    """Creates the folder of a file that is written inside this context, and turns an OSError into a UserError."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(
            f"{output} could not be written ({error.strerror}): free some space, or choose another file."
        ) from None
