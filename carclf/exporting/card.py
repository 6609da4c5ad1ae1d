"""The model card of an export, filled from the run: purpose, use, results and limits."""

import hashlib
import importlib.metadata
import importlib.resources
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from carclf import __version__
from carclf.advice import command, run_argument
from carclf.errors import UserError
from carclf.exporting.checking import PAD_MODES, TOLERANCE, Deviation, Resizing
from carclf.exporting.formats import Format
from carclf.framing import LEAST_DETAIL, RESIZE_MODES, parse_image_size
from carclf.inference.metrics import FIGURES
from carclf.metrics import find_metric
from carclf.runs import Run
from carclf.runs.run_files import DataEntry
from carclf.schema import typed

TEMPLATE = "card.md"
WEAKEST = 3
LISTED_CLASSES = 30

FILLED = {"edge": "with its edge pixels", "reflect": "with its mirror image", "constant": "with black"}


def evaluation_of(run: Run) -> Mapping[str, Any]:
    """Returns the figures of a finished run on its held-out fold (`carclf.inference.metrics.Evaluation`).

    Raises:
      UserError: the run is unfinished, or was never evaluated.
    """
    if run.metrics is None:
        raise UserError(f"The run {run.directory} is not finished: train it to its end before you export it.")
    evaluation = run.metrics.get("evaluation")
    if evaluation is None:
        raise UserError(
            f"The run {run.directory} has no evaluation for the model card: evaluate it with "
            f"{command('evaluate', f'--run={run_argument(run.directory)}', '--data=DIR')}."
        )
    return dict(evaluation)


def labels_text(class_names: Sequence[str]) -> str:
    """Returns one class name per line, in the order of the labels; a line break within a name becomes a blank."""
    return "".join(f"{' '.join(name.splitlines())}\n" for name in class_names)


def card_text(
    *,
    run: Run,
    parents: Sequence[Run],
    form: Format,
    folder: Path,
    resize: Resizing | None,
    identical: Deviation,
    full: Deviation,
    larger: Deviation,
) -> str:
    """Returns the card as Markdown.

    Args:
      run: the exported run.
      parents: its parent runs, from the first stage on.
      form: the format.
      folder: the folder with the model and labels.txt.
      resize: how to resize photos for a format that takes only one size; None if it takes any.
      identical: the comparison on identical pixels.
      full: the comparison with full decoding.
      larger: the comparison on photos that conversion would reduce.

    Raises:
      UserError: the run was never evaluated.
    """
    evaluation = evaluation_of(run)
    chosen_by = find_metric(run.followed_metric)
    height, width = parse_image_size(run.options.image_size)
    sides = "h, w" if resize is None else ", ".join(map(str, resize.photo_size))
    return _template().render(
        name=run.name,
        class_names=run.class_names,
        class_list=_class_list(run.class_names),
        form=form,
        options=run.options,
        height=height,
        width=width,
        carclf_version=__version__,
        evaluation=evaluation,
        figures=_figures(evaluation),
        chosen_by="accuracy" if chosen_by.name == "accuracy" else chosen_by.title,
        accuracy=f"{evaluation['accuracy']:.3f}",
        percent=f"{evaluation['accuracy']:.1%}".replace("%", " %"),
        percent_interval=f"{100 * evaluation['accuracy_low']:.1f}–{100 * evaluation['accuracy_high']:.1f} %",
        interval=f"{evaluation['accuracy_low']:.3f}–{evaluation['accuracy_high']:.3f}",
        input_shape=f"[B, {sides}, 3]",
        input_meaning="photos of any size, all the same within a batch" if resize is None else "of that size only",
        inside=_inside(run, resize=resize),
        example=form.example.replace("{resize}\n", _pillow_lines(resize)),
        resizing=_resizing(resize),
        weakest=_weakest(evaluation),
        identical=identical,
        full=full,
        larger=larger,
        max_side=run.max_side,
        full_name="decoded in full" + (" and resized" if resize else ""),
        agreement=_agreement(form, full),
        runtime=_runtime(form),
        stages=[_stage(member) for member in (*parents, run)],
        data=typed(run.stage["data"], DataEntry, at="data", others=True),
        git_commit=run.stage.get("git_commit"),
        files=[_file(path, folder) for path in sorted(folder.rglob("*")) if path.is_file()],
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=False,  # Markdown; text that may contain its markup goes through `plain`
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.from_string(importlib.resources.files(__package__).joinpath(TEMPLATE).read_text("utf-8"))


def plain(text: str) -> str:
    """Returns the text on one line, with every character escaped that Markdown or HTML could read as markup."""
    return re.sub(r"([\\`*_{}\[\]()<>#|!&~$])", r"\\\1", " ".join(text.split()))


def _class_list(class_names: Sequence[str]) -> str:
    listed = ", ".join(map(plain, class_names[:LISTED_CLASSES]))
    return f"{listed}, … (all in `labels.txt`)" if len(class_names) > LISTED_CLASSES else listed


def _inside(run: Run, *, resize: Resizing | None) -> str:
    if resize is not None:
        steps = ["one interpolation to the network's size"]
    else:
        steps = [
            f"a photo is halved by averaging while {LEAST_DETAIL} of its pixels remain for each of the network's",
            f"{RESIZE_MODES[run.options.fit].summary} by one interpolation",
        ]
    if run.options.stretch:
        steps.append("its values stretched to 0–255")
    return ", ".join([*steps, "and the range that the backbone expects"])


def _resizing(resize: Resizing | None) -> str:
    if resize is None:
        return ""
    text = _filled(RESIZE_MODES[resize.fit].by_hand, resize)
    return f"{text[0].upper()}{text[1:]}."


def _pillow_lines(resize: Resizing | None) -> str:
    return "" if resize is None else f"{_filled(RESIZE_MODES[resize.fit].by_pillow, resize)}\n"


def _filled(text: str, resize: Resizing) -> str:
    height, width = resize.photo_size
    return text.format(height=height, width=width, filled=FILLED[resize.fill], mode=PAD_MODES[resize.fill])


def _figures(evaluation: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Returns the title and value of each figure beside the accuracy, first the metric that counts."""
    known = {
        row.name: (row.title, evaluation[name]) for name, row in FIGURES.items() if evaluation.get(name) is not None
    }
    name = evaluation.get("metric", "accuracy")
    score = None if name == "accuracy" else evaluation.get("score")
    first = {} if score is None else {name: (find_metric(name).title, score)}
    return list((first | known).values())


def _weakest(evaluation: Mapping[str, Any]) -> str:
    seen = [score for score in evaluation.get("per_class", ()) if score["photos"]]
    worst = sorted(seen, key=lambda score: score["f1"])[:WEAKEST]
    return ", ".join(f"{plain(score['name'])} (F1 {score['f1']:.2f})" for score in worst)


def _agreement(form: Format, full: Deviation) -> str:
    accepted = (
        "The weights are rounded, so the difference on identical pixels is reported, but not limited."
        if form.quantized
        else f"A file that differs by more than {TOLERANCE:g} on identical pixels is not written."
    )
    return (
        f"{accepted} carclf itself reads large JPEGs at a half, a quarter or an eighth of their size, for "
        "which libjpeg drops high frequencies; other decoders return all pixels. The second line shows "
        f"the effect: the probability of the likeliest class changes by {full.mean:.1e} on average, and the class "
        f"itself changes for {full.photos - full.same_class} of {full.photos} photos."
    )


def _runtime(form: Format) -> str:
    packages = list(form.packages.values())[-1:] or ["tensorflow-cpu", "tensorflow"]
    for package in packages:
        try:
            return f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return "TensorFlow"


def _stage(run: Run) -> dict[str, Any]:
    metrics = run.metrics or {}
    accuracy = metrics.get("val_accuracy")
    return {
        "name": plain(run.name),
        "backbone": run.options.backbone,
        "image_size": run.options.image_size,
        "unfreeze": run.options.unfreeze,
        "augment": run.options.augment or "none",
        "epochs": metrics.get("epochs", "–"),
        "val_accuracy": "–" if accuracy is None else f"{accuracy:.3f}",
    }


def _file(path: Path, folder: Path) -> tuple[str, str, str]:
    content = path.read_bytes()
    return path.relative_to(folder).as_posix(), f"{len(content):,}", hashlib.sha256(content).hexdigest()
