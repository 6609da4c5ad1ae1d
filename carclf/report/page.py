"""The page of a run: one HTML file that needs no network and no JavaScript, for a phone as for a desk."""

import base64
import importlib.resources
import io
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup
from PIL import Image

from carclf import config, runs
from carclf.inference.metrics import Evaluation
from carclf.report.pictures import WRITTEN_CLASSES, curve_svg

TEMPLATE = "report.html"
CHARTS = ("Accuracy", "Loss", "Learning rate")
JPEG_QUALITY = 88
MISSING = "–"


def write_page(
    *,
    run: runs.Run,
    history: pd.DataFrame,
    evaluation: Evaluation,
    tta: str,
    parents: Sequence[runs.Run],
    thumbnails: Mapping[str, bytes],
    path: Path,
) -> None:
    """Writes the page of a run.

    Args:
      run: the run; the pictures augmentation.png and, with very many classes, confusion.png of its folder are inlined.
      history: one row an epoch, with the columns of history.csv.
      evaluation: what the page reports.
      tta: the views it was made with, joined by '|'.
      parents: the runs it descends from, the first stage first.
      thumbnails: JPEG bytes of mistakes by photo id; those without one are listed in words.
      path: the file to write.
    """
    metrics = run.metrics or {}
    best_epoch = metrics.get("best_epoch")
    html = _template().render(
        run=run,
        metrics=metrics,
        evaluation=evaluation,
        tta=tta,
        stages=_stage_rows(run, parents=parents),
        charts=[(name, curve_svg(history, name=name, best_epoch=best_epoch)) for name in CHARTS if len(history)],
        epochs=history.to_dict("records"),
        pace=_pace(history),
        classes=sorted(evaluation.per_class, key=lambda score: score.f1),
        confusion=_confusion_rows(evaluation),
        confusion_picture=_inline_picture(run.directory / "confusion.png"),
        mistakes=[(mistake, _inline_jpeg(thumbnails.get(mistake.id))) for mistake in evaluation.mistakes],
        augmentation=_inline_picture(run.directory / "augmentation.png"),
        changed=config.changed_options(run.options),
        options=config.to_dict(run.options),
        command=_command(run.options),
        environment=_environment(run),
    )
    # A file name may hold what UTF-8 cannot; it is shown as its code.
    runs.write_atomically(path, html.encode("utf-8", errors="backslashreplace"))


def _template() -> jinja2.Template:
    # Autoescape is what keeps hostile file and class names out of the page's markup.
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": percent, "duration": duration, "number": number, "rate": rate, "fixed": fixed}
    return environment.from_string(importlib.resources.files(__package__).joinpath(TEMPLATE).read_text("utf-8"))


def percent(share: float | None, digits: int = 1) -> str:
    """A share of 0..1 such as '91.2 %', with a space that does not break."""
    return MISSING if _absent(share) else f"{100 * float(share):.{digits}f}\u00a0%"  # type: ignore[arg-type]


def duration(seconds: float | None) -> str:
    """Seconds in the two largest units that say enough: '8.3 s', '7 min 20 s', '2 h 31 min'."""
    if _absent(seconds):
        return MISSING
    value = float(seconds)  # type: ignore[arg-type]
    if value < 59.95:
        return f"{value:.1f}\u00a0s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}\u00a0min {rest}\u00a0s"
    return f"{minutes // 60}\u00a0h {minutes % 60}\u00a0min"


def number(value: float | None, digits: int = 3) -> str:
    """A figure with so many significant digits, and no exponent between 0.0001 and a million."""
    if _absent(value):
        return MISSING
    value = float(value)  # type: ignore[arg-type]
    return f"{value:,.0f}" if 10**digits <= abs(value) < 1e6 else f"{value:.{digits}g}"


def rate(value: float | None) -> str:
    """A learning rate as people write it: '1e-4', '6.56e-5'."""
    if _absent(value):
        return MISSING
    mantissa, exponent = f"{float(value):.2e}".split("e")  # type: ignore[arg-type]
    return f"{float(mantissa):g}e{int(exponent)}"


def fixed(value: float | None, digits: int = 3) -> str:
    """A figure with so many decimals, for columns."""
    return MISSING if _absent(value) else f"{float(value):.{digits}f}"  # type: ignore[arg-type]


def _absent(value: float | None) -> bool:
    return value is None or bool(pd.isna(value))


def _stage_rows(run: runs.Run, *, parents: Sequence[runs.Run]) -> list[dict[str, Any]]:
    """One row a stage, the first stage first; a parent whose folder is gone is known by name and accuracy only."""
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
        "val_accuracy": metrics.get("val_accuracy"),
        "seconds_per_epoch": seconds / epochs if seconds is not None and epochs else None,
        "train_photos": run.stage["data"].get("train_photos"),
        "val_photos": run.stage["data"].get("val_photos"),
    }


def _pace(history: pd.DataFrame) -> dict[str, float | None]:
    """Median seconds and images per second of an epoch; the first, which compiles, counts only when alone."""
    later = history.iloc[1:] if len(history) > 1 else history

    def median(column: str) -> float | None:
        return float(later[column].median()) if column in later and later[column].notna().any() else None

    return {"seconds": median("seconds"), "images_per_second": median("images_per_second")}


def _confusion_rows(evaluation: Evaluation) -> list[tuple[str, int, list[tuple[int, float]]]]:
    """(name, photos, cells) a class, a cell being its count and share of the row; none when there are too many."""
    if len(evaluation.per_class) > WRITTEN_CLASSES:
        return []
    rows = zip(evaluation.per_class, evaluation.confusion.tolist(), strict=True)
    return [(score.name, score.photos, [(n, n / max(score.photos, 1)) for n in counts]) for score, counts in rows]


def _command(options: config.TrainOptions) -> list[str]:
    """The words that train the run again, quoted for a shell."""
    arguments = []
    for name, value in config.changed_options(options).items():
        if isinstance(value, bool):
            arguments.append(f"--{name}" if value else f"--no{name}")
        else:
            arguments.append(f"--{name}={value}")
    return [shlex.quote(word) for word in ("python", "-m", "carclf.train", *arguments)]


def _environment(run: runs.Run) -> list[tuple[str, Any]]:
    device, data = run.stage.get("device", {}), run.stage["data"]
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
    """The picture as a JPEG data address, a fifth of its PNG; None where there is none that can be read."""
    if not path.is_file():
        return None
    buffer = io.BytesIO()
    try:
        Image.open(path).convert("RGB").save(buffer, "JPEG", quality=JPEG_QUALITY)
    except (OSError, SyntaxError, ValueError):  # a report is not worth losing over a damaged picture
        return None
    return _inline_jpeg(buffer.getvalue())


def _inline_jpeg(encoded: bytes | None) -> Markup | None:
    return None if encoded is None else Markup("data:image/jpeg;base64,") + base64.b64encode(encoded).decode()
