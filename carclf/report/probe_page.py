"""The page of a probe: its table, its ensemble, and the photos that no backbone gets right."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from carclf.inference.ranking import RankedRow
from carclf.metrics import Metric
from carclf.report.template import write_html

SHOWN = 100  # photos in the list


def write_probe_page(
    path: Path,
    *,
    data: str,
    photos: int,
    classes: int,
    metric: Metric,
    rows: Sequence[RankedRow],
    ensemble: RankedRow | None,
    missed: pd.DataFrame,
) -> None:
    """Writes the page.

    Args:
      path: the file.
      data: the data set, as the user named it.
      photos: number of photos that were evaluated.
      classes: number of classes.
      metric: what the rows are ranked by.
      rows: the probes, the best first.
      ensemble: of several probes, or None if none is better than the best alone.
      missed: the photos that no probe gets right.
    """
    write_html(
        path,
        "probe.html",
        data=data,
        photos=photos,
        classes=classes,
        metric=metric,
        rows=rows,
        ensemble=ensemble,
        missed=missed.to_dict("records"),
        shown=SHOWN,
    )
