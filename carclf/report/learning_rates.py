"""What `--find_lr` leaves in a run's folder: find_lr.csv and find_lr.png."""

from pathlib import Path

import pandas as pd

from carclf.files import write_atomically
from carclf.report.charts import draw_learning_rates


def write_learning_rates(measured: pd.DataFrame, *, suggestion: float | None, directory: Path) -> None:
    """Writes both files, and prints what they suggest.

    Args:
      measured: learning_rate, loss and smoothed, one row per step.
      suggestion: the learning rate to take, if any.
      directory: the run's folder.
    """
    table, picture = directory / "find_lr.csv", directory / "find_lr.png"
    write_atomically(table, measured.to_csv(index=False, lineterminator="\n").encode())
    draw_learning_rates(measured, suggestion=suggestion, path=picture, title=f"Loss by learning rate: {picture}")
    print(f"{len(measured)} steps: {table}, {picture}")
    if suggestion is None:
        print("No learning rate is suggested: the loss never fell.")
    else:
        print(f"Suggested: --learning_rate={suggestion:.2g}, where the loss falls most steeply.")
