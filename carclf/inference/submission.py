"""The gate to submission.csv: exactly the sample's Ids, each once, in its order, or no file at all."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from carclf import runs
from carclf.errors import UserError


def read_sample(path: Path) -> tuple[list[str], list[str]]:
    """(header, ids) of a sample submission: its two column names, and its Ids in order, as strings.

    Raises:
      UserError: it is missing, has not two columns, no rows, or an Id twice.
    """
    if not path.is_file():
        raise UserError(f"There is no sample submission {path}: give the competition's own with --sample=FILE.")
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as CSV ({error}): give the competition's own sample.") from None
    if frame.shape[1] != 2 or frame.empty:
        raise UserError(
            f"{path} has {frame.shape[1]} columns and {len(frame)} rows: a sample has an Id and a label column."
        )
    ids = frame.iloc[:, 0].tolist()
    if repeated := frame.iloc[:, 0][frame.iloc[:, 0].duplicated()].tolist():
        raise UserError(f"{path} names the Id {repeated[0]!r} twice: give the competition's own sample.")
    return list(frame.columns), ids


def write_submission(
    *,
    output: Path,
    ids: Sequence[str],
    probabilities: np.ndarray,
    class_labels: Sequence[str],
    header: Sequence[str] = ("Id", "Category"),
    order: Sequence[str] | None = None,
) -> int:
    """The number of rows written to `output`: each Id with the label of its most probable class.

    Args:
      output: the file, replaced only by a complete one.
      ids: the N photos that were predicted.
      probabilities: float [N, K].
      class_labels: the K labels as the competition writes them.
      header: the two column names.
      order: the sample's Ids; None writes `ids` in their own order.

    Raises:
      UserError: a probability is not finite, or `ids` and `order` are not the same set; no file is written then.
    """
    _check_probabilities(ids, probabilities)
    labels = [class_labels[k] for k in probabilities.argmax(axis=1)]
    check_ids(ids, order=order)
    by_id = dict(zip(ids, labels, strict=True))
    wanted = list(ids) if order is None else list(order)
    frame = pd.DataFrame({header[0]: wanted, header[1]: [by_id[i] for i in wanted]})
    _write_csv(frame, output)
    return len(frame)


def check_ids(ids: Sequence[str], *, order: Sequence[str] | None) -> None:
    """Returns nothing when the photos are exactly those of the sample, each once.

    Args:
      ids: of the photos.
      order: the sample's Ids, or None for no sample.

    Raises:
      UserError: they are not.
    """
    if len(set(ids)) != len(ids):
        raise UserError("An Id stands for two photos, so nothing was written: convert the photos again.")
    if order is None:
        return
    missing, extra = sorted(set(order) - set(ids)), sorted(set(ids) - set(order))
    if missing or extra:
        raise UserError(
            f"The data set and the sample submission do not hold the same Ids ({len(missing)} of the sample's have no "
            f"photo{_first(missing)}; {len(extra)} photos are not in the sample{_first(extra)}), so nothing was "
            "written: give the right sample with --sample=FILE, or convert the right photos."
        )


def write_probabilities(
    *, output: Path, ids: Sequence[str], probabilities: np.ndarray, class_names: Sequence[str], id_name: str = "Id"
) -> None:
    """Writes one row a photo: its Id, the probability of every class, the top class and its margin over the second.

    Raises:
      UserError: a probability is not finite; no file is written then.
    """
    _check_probabilities(ids, probabilities)
    columns: dict[str, list[str] | np.ndarray] = {id_name: list(ids)}
    columns |= {name: probabilities[:, k].round(7) for k, name in enumerate(class_names)}
    frame = pd.DataFrame(columns)
    ordered = np.sort(probabilities, axis=1)
    frame["top_class"] = [class_names[k] for k in probabilities.argmax(axis=1)]
    frame["margin"] = (ordered[:, -1] - ordered[:, -2] if ordered.shape[1] > 1 else ordered[:, -1]).round(7)
    _write_csv(frame, output)


def _check_probabilities(ids: Sequence[str], probabilities: np.ndarray) -> None:
    finite = np.isfinite(probabilities).all(axis=1)
    if not finite.all():
        bad = [ids[i] for i in np.flatnonzero(~finite)[:5]]
        raise UserError(
            f"{int((~finite).sum())} photos have probabilities that are not finite (first: {', '.join(bad)}), so "
            "nothing was written: train the run again with a lower --learning_rate or --precision=float32."
        )


def _first(ids: Sequence[str]) -> str:
    return f", such as {ids[0]!r}" if ids else ""


def _write_csv(frame: pd.DataFrame, output: Path) -> None:
    buffer = io.StringIO()
    frame.to_csv(buffer, index=False, lineterminator="\n")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        runs.write_atomically(output, buffer.getvalue().encode())
    except OSError as error:
        raise UserError(
            f"{output} could not be written ({error.strerror}): free space or choose another --output."
        ) from None
