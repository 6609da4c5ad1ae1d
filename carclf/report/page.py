"""The page of a run: one HTML file that needs no network and no JavaScript, for phones and desktops."""

import io
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup
from PIL import Image

from carclf import runs
from carclf.flags import changed_options, to_dict
from carclf.inference.metrics import FIGURES, MATRIX_CLASSES, Evaluation
from carclf.metrics import find_metric
from carclf.report.charts import charts_of, curve_svg, reliability_svg
from carclf.report.confusion import WRITTEN_CLASSES
from carclf.report.names import captions, short_names
from carclf.report.template import inline_jpeg, write_html

JPEG_QUALITY = 88
HEADING_LENGTH = 16  # of a row or a column of the confusion matrix


class MistakePictures(NamedTuple):
    """JPEG bytes of a photo that was mistaken: itself, and where it speaks for the predicted and for the true class."""

    photo: bytes
    predicted: bytes
    true: bytes


def write_page(
    *,
    run: runs.Run,
    history: pd.DataFrame,
    evaluation: Evaluation,
    tta: str,
    parents: Sequence[runs.Run],
    pictures: Mapping[str, MistakePictures],
    path: Path,
) -> None:
    """Writes the page of a run.

    Args:
      run: the run; the pictures augmentation.png and, with very many classes, confusion.png of its folder are inlined.
      history: one row per epoch, with the columns of history.csv.
      evaluation: the evaluation to report.
      tta: its views, joined by '|'.
      parents: the parent runs, from the first stage on.
      pictures: of mistakes, by photo id; mistakes without pictures are only listed.
      path: the file to write.
    """
    metrics = run.metrics or {}
    best_epoch = metrics.get("best_epoch")
    write_html(
        path,
        "report.html",
        run=run,
        metrics=metrics,
        evaluation=evaluation,
        metric=find_metric(evaluation.metric),
        followed=find_metric(run.followed_metric),
        figures=[
            (FIGURES[name], value)
            for name, value in evaluation.metrics.items()
            if len(run.class_names) >= FIGURES[name].least_classes and FIGURES[name].name != evaluation.metric
        ],
        tta=tta,
        stages=_stage_rows(run, parents=parents),
        charts=[(name, curve_svg(history, name=name, best_epoch=best_epoch)) for name in _charts(history)],
        epochs=history.to_dict("records"),
        speed=_speed(history),
        classes=sorted(evaluation.per_class, key=lambda score: (not score.photos, score.f1)),
        confusion=_confusion_rows(evaluation),
        confusion_picture=_inline_picture(run.directory / "confusion.png")
        if len(evaluation.per_class) <= MATRIX_CLASSES
        else None,
        mistakes=[
            (mistake, pictures.get(mistake.id), captions((mistake.predicted, mistake.true)))
            for mistake in evaluation.mistakes
        ],
        likely_mislabels=sum(mistake.likely_mislabel for mistake in evaluation.mistakes),
        reliability=reliability_svg(evaluation.calibration.bins),
        augmentation=_inline_picture(run.directory / "augmentation.png"),
        changed=_changed_options(run, parent=parents[-1] if parents else None),
        options=to_dict(run.options),
        soup=run.stage.get("soup"),
        command=_command(run),
        environment=_environment(run),
    )


def _charts(history: pd.DataFrame) -> list[str]:
    return charts_of(history) if len(history) else []


def _stage_rows(run: runs.Run, *, parents: Sequence[runs.Run]) -> list[dict[str, Any]]:
    """Returns one row per stage, from the first on; of a parent without folder only name and accuracy are known."""
    chain = [*parents, run]
    rows = [_stage_row(member) for member in chain]
    if gone := chain[0].stage.get("parent"):
        rows.insert(0, {"stage": gone.get("stage"), "val_accuracy": gone.get("val_accuracy"), "options": None})
    before = [None, *(row["val_accuracy"] for row in rows)]
    for row, earlier in zip(rows, before, strict=False):
        known = row["val_accuracy"] is not None and earlier is not None
        row["gain"] = round(100 * (row["val_accuracy"] - earlier), 2) if known else None
    return rows


def _stage_row(run: runs.Run) -> dict[str, Any]:
    metrics = run.metrics or {}
    seconds, epochs = metrics.get("train_seconds"), metrics.get("epochs")
    return {
        "stage": run.stage.get("stage", run.name),
        "options": run.options,
        "epochs": epochs,
        "averaged": "soup" in run.stage,
        "val_accuracy": metrics.get("val_accuracy"),
        "seconds_per_epoch": seconds / epochs if seconds is not None and epochs else None,
        "train_photos": run.stage["data"].get("train_photos"),
        "val_photos": run.stage["data"].get("val_photos"),
    }


def _speed(history: pd.DataFrame) -> dict[str, float | None]:
    """Returns the median seconds and images per second of an epoch, without the first if possible: it compiles."""
    later = history.iloc[1:] if len(history) > 1 else history

    def median(column: str) -> float | None:
        return float(later[column].median()) if column in later and later[column].notna().any() else None

    return {"seconds": median("seconds"), "images_per_second": median("images_per_second")}


def _changed_options(run: runs.Run, *, parent: runs.Run | None) -> list[dict[str, Any]]:
    """Returns the options that differ from the defaults or from the parent: name, value, default, parent's value."""
    own, defaults = to_dict(run.options), to_dict(type(run.options)())
    inherited = to_dict(parent.options) if parent else own
    return [
        {"name": name, "value": value, "default": defaults[name], "parent": inherited[name]}
        for name, value in own.items()
        if value != defaults[name] or value != inherited[name]
    ]


def _confusion_rows(evaluation: Evaluation) -> list[tuple[str, str, list[tuple[int, float]]]]:
    """Returns (name, short name, [(count, fraction of the row)]) per class, or [] for too many classes."""
    if len(evaluation.per_class) > WRITTEN_CLASSES:
        return []
    short = short_names([score.name for score in evaluation.per_class], length=HEADING_LENGTH)
    rows = zip(evaluation.per_class, short, evaluation.confusion.matrix().tolist(), strict=True)
    return [(score.name, name, [(n, n / max(score.photos, 1)) for n in counts]) for score, name, counts in rows]


def _command(run: runs.Run) -> list[str]:
    """Returns the words of the command that makes the run again, quoted for a shell."""
    if soup := run.stage.get("soup"):
        return [shlex.quote(word) for word in ("python", "-m", "carclf.soup", *soup["command"])]
    arguments = []
    for name, value in changed_options(run.options).items():
        if isinstance(value, bool):
            arguments.append(f"--{name}" if value else f"--no{name}")
        else:
            arguments.append(f"--{name}={value}")
    return [shlex.quote(word) for word in ("python", "-m", "carclf.train", *arguments)]


def _environment(run: runs.Run) -> list[tuple[str, Any]]:
    device: Any = run.stage.get("device") or {}
    data = run.stage["data"]
    rows = [
        ("Device", " × ".join(str(device[key]) for key in ("replicas", "kind") if key in device)),
        ("Backend", device.get("backend")),
        ("Precision", device.get("precision")),
        ("XLA", {True: "on", False: "off"}.get(device.get("jit"))),
        ("Git commit", run.stage.get("git_commit")),
        ("Data set", data.get("directory")),
        ("Data fingerprint", run.data_fingerprint),
        *sorted(run.stage.get("versions", {}).items()),
    ]
    return [(name, value) for name, value in rows if value not in (None, "")]


def _inline_picture(path: Path) -> Markup | None:
    """Returns the picture as a data URL of a JPEG, a fifth of its PNG's size; None if it cannot be read."""
    if not path.is_file():
        return None
    buffer = io.BytesIO()
    try:
        Image.open(path).convert("RGB").save(buffer, "JPEG", quality=JPEG_QUALITY)
    except (OSError, SyntaxError, ValueError):  # a damaged picture must not prevent the report
        return None
    return inline_jpeg(buffer.getvalue())
