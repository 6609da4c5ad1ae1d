"""Writes submission.csv with exactly the sample's Ids, each once, in its order, or writes no file."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from carclf.errors import UserError
from carclf.files import write_atomically

EXTRA_COLUMNS = ("top_class", "margin")


def read_sample(path: Path) -> tuple[list[str], list[str]]:
    """Returns (header, ids) of a sample submission: its two column names, and its Ids in order, as strings.

    Raises:
      UserError: it is missing, does not have two columns, has no rows, or has an Id twice.
    """
    frame = read_table(path, what="sample submission", advice="give the competition's own with --sample=FILE")
    return list(frame.columns), frame.iloc[:, 0].tolist()


def read_table(path: Path, *, what: str, advice: str) -> pd.DataFrame:
    """Returns the two columns of a submission, as strings.

    Args:
      path: of the CSV.
      what: the table's name in error messages.
      advice: the end of error messages.

    Raises:
      UserError: it is missing, does not have two columns, has no rows, or has an Id twice.
    """
    if not path.is_file():
        raise UserError(f"There is no {what} {path}: {advice}.")
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as CSV ({error}): {advice}.") from None
    if frame.shape[1] != 2 or frame.empty:
        raise UserError(
            f"{path} has {frame.shape[1]} columns and {len(frame)} rows, but a {what} has an Id and a label column: "
            f"{advice}."
        )
    if repeated := frame.iloc[:, 0][frame.iloc[:, 0].duplicated()].tolist():
        raise UserError(f"{path} has the Id {repeated[0]!r} twice: {advice}.")
    return frame


def write_submission(
    *,
    output: Path,
    ids: Sequence[str],
    probabilities: np.ndarray,
    class_labels: Sequence[str],
    header: Sequence[str] = ("Id", "Category"),
    order: Sequence[str] | None = None,
) -> dict[str, str]:
    """Writes each Id with the label of its likeliest class, and returns these labels by Id in the written order.

    Args:
      output: the file, replaced only by a complete one.
      ids: of the N predicted photos.
      probabilities: float [N, K].
      class_labels: the K labels as the competition writes them.
      header: the two column names.
      order: the sample's Ids; None writes `ids` in their own order.

    Raises:
      UserError: a probability is not finite, or `ids` and `order` are not the same set. Then no file is written.
    """
    order = _checked_order(ids, probabilities, order=order)
    by_id = {name: class_labels[k] for name, k in zip(ids, probabilities.argmax(axis=1), strict=True)}
    labels = {name: by_id[name] for name in order}
    write_table(pd.DataFrame({header[0]: list(labels), header[1]: list(labels.values())}), output)
    return labels


def check_ids(ids: Sequence[str], *, order: Sequence[str] | None) -> None:
    """Checks that the photos are exactly those of the sample, each once.

    Args:
      ids: of the photos.
      order: the sample's Ids; None without a sample.

    Raises:
      UserError: they are not.
    """
    if len(set(ids)) != len(ids):
        raise UserError("Two photos have the same Id, so nothing was written: convert the photos again.")
    if order is None:
        return
    missing, extra = sorted(set(order) - set(ids)), sorted(set(ids) - set(order))
    if missing or extra:
        raise UserError(
            f"The data set and the sample submission do not have the same Ids ({len(missing)} Ids of the sample have "
            f"no photo{_first(missing)}; {len(extra)} photos are not in the sample{_first(extra)}), so nothing was "
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

    A class with the name of another column gets the prefix "class ".

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
    taken = (id_name, *EXTRA_COLUMNS)
    columns: dict[str, list[str] | np.ndarray] = {id_name: order}
    columns |= {
        f"class {name}" if name in taken else name: probabilities[:, k].round(7) for k, name in enumerate(class_names)
    }
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
            "nothing was written: train the run again with a lower --learning_rate or --precision=float32."
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


def _write(content: bytes, output: Path) -> None:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(output, content)
    except OSError as error:
        raise UserError(
            f"{output} could not be written ({error.strerror}): free some space, or choose another file."
        ) from None
