"""Exports one run to one folder, which appears only after the model was checked and described."""

import dataclasses
import math
from pathlib import Path

from carclf import runs
from carclf.data.decoder import DCT_RATIOS
from carclf.data.manifest import Manifest
from carclf.errors import UserError
from carclf.exporting.card import card_text, evaluation_of, labels_text
from carclf.exporting.checking import (
    TOLERANCE,
    Deviation,
    Resizing,
    compare_on_full_decoding,
    compare_on_identical_pixels,
    compare_on_larger_photos,
    read_validation_sample,
)
from carclf.exporting.folder import CARD_FILE, LABELS_FILE, new_folder
from carclf.exporting.formats import Format, write_saved_model
from carclf.framing import LEAST_DETAIL, Framing
from carclf.inference.photo_predictor import PhotoPredictor
from carclf.inference.programs import load_classifier
from carclf.model.whole_photo import build_whole_photo_classifier


@dataclasses.dataclass(frozen=True)
class Exported:
    """An export.

    Attributes:
      model: path of the file, or of the SavedModel's folder.
      bytes: its size.
      identical: the comparison on identical pixels.
      full: the comparison with full decoding.
      larger: the comparison on photos that conversion would reduce.
    """

    model: Path
    bytes: int
    identical: Deviation
    full: Deviation
    larger: Deviation


def export_run(
    run: runs.Run, *, form: Format, manifest: Manifest, fold: int, photos: int, output: Path, runs_folder: str
) -> Exported:
    """Writes the folder `output` with the model, labels.txt and README.md; an existing one is replaced.

    Args:
      run: a finished run.
      form: the format.
      manifest: the run's data set.
      fold: the fold that the run held out.
      photos: maximum number of photos of that fold to check on.
      output: the folder.
      runs_folder: folder of the parent runs, for the card.

    Raises:
      UserError: the run is unfinished or has no weights, the fold is empty, the folder cannot be written, or the
        exported model gives other probabilities than the run. Then nothing is left behind.
    """
    evaluation_of(run)
    sample = read_validation_sample(manifest, fold=fold, photos=photos)
    classifier, framing = load_classifier(run)
    resize = None if form.any_size else resizing_for(run, framing)
    model = build_whole_photo_classifier(
        classifier,
        framing=framing,
        rendering=run.rendering,
        least_side=-(-run.max_side // max(DCT_RATIOS)),
        photo_size=resize.photo_size if resize else None,
    )
    with new_folder(output) as folder:
        saved_model = folder.parent / "from_keras"
        write_saved_model(model, saved_model)
        form.write(saved_model, folder / form.file)
        predict = form.load(folder / form.file)
        predictor = PhotoPredictor([run])
        identical = compare_on_identical_pixels(predict, predictor, sample, resize=resize)
        if not (identical.within_tolerance or form.quantized):
            raise UserError(
                f"The exported {form.title} gives other probabilities than the run (they differ by up to "
                f"{identical.largest:.2g} on {identical.photos} validation photos; {TOLERANCE:g} is accepted), so it "
                "was not written: choose another --format."
            )
        full = compare_on_full_decoding(predict, predictor, sample, resize=resize)
        larger = compare_on_larger_photos(predict, predictor, sample, resize=resize)
        (folder / LABELS_FILE).write_text(labels_text(run.class_names), encoding="utf-8")
        card = card_text(
            run=run,
            parents=runs.parent_runs(run, runs=runs_folder),
            form=form,
            folder=folder,
            resize=resize,
            identical=identical,
            full=full,
            larger=larger,
        )
        (folder / CARD_FILE).write_text(card, encoding="utf-8")
        written = [folder / form.file, *(folder / form.file).rglob("*")]
        size = sum(path.stat().st_size for path in written if path.is_file())
    return Exported(output / form.file, size, identical, full, larger)


def resizing_for(run: runs.Run, framing: Framing) -> Resizing:
    """Returns the resizing for a format that takes only one size: the image's shape with the least detail of a run."""
    height, width = (math.ceil(side * LEAST_DETAIL) for side in framing.image_size)
    return Resizing(photo_size=(height, width), fit=framing.fit, fill=run.options.fill)
