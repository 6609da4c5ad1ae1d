"""Measures what crops of the boxes where Grad-CAM sees the evidence, erased boxes and repeated photos win in training.

The control is the row `milder` of the ledger. Each other row trains the same stage, from the same head and with equal
steps, on batches that differ; nothing differs in validation and prediction. Boxes are found in the training photos
alone, for their true classes. What was cut off resumes by the same command.
Example: python benchmarks/guided_crops.py --data=data/porsche --backbones=mobilenet_v2@96=FILE --folds=1"""

import contextlib
import dataclasses
import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ledger
import numpy as np
from ledger_page import table
from ledger_rows import Row, find_rows
from PIL import Image

from carclf import runs
from carclf.command import parse_command_line, run_command
from carclf.data.manifest import Manifest, load_manifest
from carclf.flags import option, refuse_inherited
from carclf.framing import parse_image_size
from carclf.probing.extractors import parse_extractors
from carclf.recipe import Draws, Recipe, counter, geometry, mixing
from carclf.train_options import TrainOptions

if TYPE_CHECKING:
    import tensorflow as tf

    from carclf.data.cache import DecodedCache
    from carclf.training.stage import Stage

CONTROL = find_rows("milder")[0]
HEAD = "regression_head"
# Source: Hu et al. 2019, "See Better Before Looking Closer" (WS-DAN), section 3.2; the margin is that of its code.
THRESHOLD = 0.5  # of a heat map's maximum
MARGIN = 0.1  # of the photo's sides, on each side of a crop
MAP_SCALE = 2  # photos are rendered larger for the maps: at 96 px a map has 3 × 3 positions
FINE_PX = 64  # per side of the map whose positions are compared with the threshold
FILL_RGB = (124.0, 116.0, 104.0)  # the mean of ImageNet
SECOND_SEED = 1 << 32  # added to the seed of a photo's second draw


@dataclasses.dataclass(frozen=True)
class GuidedOptions(ledger.LedgerOptions):
    """Every option of this benchmark."""

    refused = ("screen_size", "minutes", "output", "note")

    rows: str = option("", "Rows to measure beside the control, separated by commas; by default all.")
    work: str = option("bench/guided_crops", "Folder of the runs and figures, kept for the next call.")

    def __post_init__(self) -> None:
        """Checks each option, and that none is given which only the ledger has."""
        super().__post_init__()
        refuse_inherited(self, "all rows are measured and printed, and no page is written")


@dataclasses.dataclass(frozen=True)
class GuidedRow(Row):
    """One way to make the training batches.

    Attributes:
      source: the run whose Grad-CAM the boxes are from.
      cropped: fraction of the photos that are cropped to their box.
      erased: fraction of the photos whose box is erased.
      repeated: whether a batch holds half as many photos, each in two draws.
    """

    source: str = ""
    cropped: float = 0.0
    erased: float = 0.0
    repeated: bool = False


ROWS = (
    GuidedRow(
        "crop",
        "half of the photos are crops, boxes from the finished control",
        ("crop",),
        against=CONTROL.name,
        source=CONTROL.name,
        cropped=0.5,
    ),
    GuidedRow(
        "repeated",
        "half as many photos in a batch, each in two draws",
        ("repeated",),
        against=CONTROL.name,
        repeated=True,
    ),
    GuidedRow(
        "crop_erase",
        "a quarter are crops, a quarter has the box erased",
        ("crop_erase",),
        against=CONTROL.name,
        source=CONTROL.name,
        cropped=0.25,
        erased=0.25,
    ),
    GuidedRow(
        "head_crop",
        "half of the photos are crops, boxes from the head that the stage starts from",
        ("head_crop",),
        against=CONTROL.name,
        source=HEAD,
        cropped=0.5,
    ),
)


@dataclasses.dataclass(frozen=True, eq=False)
class GuidedRecipe(Recipe):
    """A recipe that first crops some photos to their box, or erases the box at the end.

    Attributes:
      boxes: float64 [N, 4] by row, (u0, v0, u1, v1) in the photo, each in −1..1; erased as they are.
      cropped: fraction of the photos that are cropped to their box and `MARGIN`.
      erased: fraction of the photos whose box is erased.
    """

    boxes: np.ndarray
    cropped: float
    erased: float

    @property
    def erases(self) -> bool:
        """True if it erases boxes of photos."""
        return self.erased > 0 or super().erases

    def draw(
        self,
        *,
        seed: int,
        epoch: int,
        row: np.ndarray,
        extent: np.ndarray,
        image_size: tuple[int, int],
        fit: str = "squash",
        strength: float = 1.0,
    ) -> Draws:
        """Returns the draws of a batch, as `Recipe.draw` does; which photos are changed depends on the same."""
        draws = super().draw(
            seed=seed, epoch=epoch, row=row, extent=extent, image_size=image_size, fit=fit, strength=strength
        )
        rows = np.asarray(row, np.int64)
        blocks = [(counter.stream_of("guided"), 0)]
        chance = counter.uniforms(seed=seed, epoch=epoch, row=rows[None], blocks=blocks)[0, 0]
        boxes, known = self.boxes[rows], rows >= 0
        crops = (chance < self.cropped) & known
        erases = (chance >= 1 - self.erased) & known
        cropped = crop_to(with_margin(boxes)) @ draws.geometry
        erased = erase_box(boxes, draws.geometry, image_size=image_size)
        return dataclasses.replace(
            draws,
            geometry=np.where(crops[:, None, None], cropped, draws.geometry).astype(np.float32),
            erase=np.where(erases[:, None], erased, draws.erase).astype(np.float32),
        )


@dataclasses.dataclass(frozen=True)
class SecondDraw(Recipe):
    """A recipe that draws something else for the same seed, epoch and row."""

    def draw(self, *, seed: int, **arguments: Any) -> Draws:
        """Returns the draws of a batch, as `Recipe.draw` does."""
        return super().draw(seed=seed + SECOND_SEED, **arguments)


def with_margin(boxes: np.ndarray) -> np.ndarray:
    """Returns boxes [B, 4] that are larger by `MARGIN` on each side, cut at the photo's edges."""
    side = 2 * MARGIN  # the photo is 2 wide and 2 high
    return np.clip(boxes + np.array([-side, -side, side, side]), -1.0, 1.0)


def crop_to(boxes: np.ndarray) -> np.ndarray:
    """Returns the maps [B, 3, 3] that enlarge boxes [B, 4] of photos to the whole photo."""
    (u0, v0, u1, v1), batch = boxes.T, len(boxes)
    return geometry.window((u0 + u1) / 2, (v0 + v1) / 2, (u1 - u0) / 2, (v1 - v0) / 2, batch=batch)


def erase_box(boxes: np.ndarray, maps: np.ndarray, *, image_size: tuple[int, int]) -> np.ndarray:
    """Returns `Draws.erase` [B, 7] that covers boxes [B, 4] of photos in the output of their maps [B, 3, 3]."""
    corners = np.stack([boxes[:, [0, 2, 2, 0]], boxes[:, [1, 1, 3, 3]], np.ones((len(boxes), 4))], axis=1)
    u, v, w = np.moveaxis(np.linalg.inv(maps.astype(np.float64)) @ corners, 1, 0)
    x, y = ((axis / w + 1) / 2 for axis in (u, v))
    (x0, x1), (y0, y1) = ((axis.min(axis=1), axis.max(axis=1)) for axis in (x, y))
    found = mixing.boxes((y0 + y1) / 2, (x0 + x1) / 2, y1 - y0, x1 - x0, image_size=image_size)
    return np.concatenate([found, np.tile(FILL_RGB, (len(boxes), 1))], axis=1)


def box_of(heat: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Returns the box float64 [4] around all of a heat map that reaches `THRESHOLD`; the whole photo without any heat.

    Args:
      heat: float32 [h, w] in 0..1.
      matrix: float32 [3, 3], from positions in the map to positions in the photo (`carclf.inference.attention`).
    """
    if not heat.any():
        return np.array([-1.0, -1.0, 1.0, 1.0])
    fine = np.asarray(Image.fromarray(heat).resize((FINE_PX, FINE_PX), Image.Resampling.BILINEAR))
    inside = fine >= THRESHOLD * fine.max()
    (v0, v1), (u0, u1) = ((found[0], found[-1] + 1) for found in (np.flatnonzero(inside.any(axis)) for axis in (1, 0)))
    corners = np.array([[u0, u1], [v0, v1], [FINE_PX / 2] * 2]) / (FINE_PX / 2) - [[1], [1], [0]]
    return np.clip((matrix.astype(np.float64) @ corners)[:2].T.ravel(), -1.0, 1.0)


def find_boxes(run: runs.Run, manifest: Manifest) -> np.ndarray:
    """Returns the boxes [N, 4] of the photos that a run was trained on, by row; all others are the whole photo."""
    from carclf.inference.attention import photo_heat
    from carclf.inference.programs import load_classifier

    height, width = parse_image_size(run.options.image_size)
    classifier, framing = load_classifier(run, image_size=(MAP_SCALE * height, MAP_SCALE * width))
    ids = manifest.read_ids("train")
    boxes = np.tile([-1.0, -1.0, 1.0, 1.0], (len(ids), 1))
    found = photo_heat(
        classifier,
        framing=framing,
        rendering=run.rendering,
        manifest=manifest,
        split="train",
        labels={row: (int(label),) for row, label in enumerate(ids["label"]) if ids["fold"][row] != run.held_out_fold},
    )
    for row, (heat, matrix) in found.items():
        boxes[row] = box_of(heat[..., 0], matrix)
    return boxes


def kept_boxes(source: str, folder: Path, manifest: Manifest) -> tuple[np.ndarray, float]:
    """Returns the boxes of a run, and the seconds that it took to find them, when they were found first."""
    path = folder / f"boxes-{source}.npz"
    if not path.is_file():
        started = time.perf_counter()
        boxes = find_boxes(runs.load_run(folder / source), manifest)
        np.savez(path, boxes=boxes, seconds=time.perf_counter() - started)
    with np.load(path) as kept:
        return kept["boxes"], float(kept["seconds"])


def main(options: GuidedOptions) -> None:
    """Measures what is missing, prints each row as it comes, and at last a table for each data set."""
    work = Path(options.work)
    figures = ledger.read_figures(work / ledger.FIGURES)
    backbones = parse_extractors(options.backbones)
    rows = (CONTROL, *(find_rows(options.rows, among=ROWS) if options.rows else ROWS))
    for case in ledger.cases(options, backbones):
        for row in rows:
            if not ledger.is_measured(row, case, figures):
                figures.append({"row": row.name, **case.key, **measure(options, row, case, work)})
                ledger.write_figures(work / ledger.FIGURES, figures)
                print(ledger.describe(figures[-1]), flush=True)
    for name, backbone in itertools.product(options.data.split(","), backbones):
        asked = {"data": Path(name).name, "backbone": backbone.backbone, "image_size": backbone.size}
        found = [figure for figure in figures if asked.items() <= figure.items()]
        print(f"\n{', '.join(asked.values())} px: {table(found, rows=rows)}")


def measure(options: GuidedOptions, row: Row, case: ledger.Case, work: Path) -> dict[str, Any]:
    """Trains a row after the runs that it needs, and predicts the held-out photos; returns what the ledger's does."""
    if not isinstance(row, GuidedRow):
        return ledger.measure(options, row, case, work)
    folder = case.folder(work)
    seconds: dict[str, float] = {}
    ledger.train(options, row.source or HEAD, case, folder, seconds)
    flags = [*ledger.stage_flags(CONTROL.runs[0], case, folder), f"--run={row.name}", f"--device={options.device}"]
    stage_options = parse_command_line(TrainOptions, [*flags, "--overwrite"], description="")
    assert stage_options is not None
    with open(folder / f"{row.name}.log", "w", encoding="utf-8") as log, contextlib.redirect_stdout(log):
        seconds["boxes"] = train_guided(row, stage_options, folder)
    seconds[row.name] = ledger.seconds_of(folder / row.name)
    return {"right": ledger.predict(options, row, row.name, case, folder), "seconds": round(sum(seconds.values()), 1)}


def train_guided(row: GuidedRow, options: TrainOptions, folder: Path) -> float:
    """Trains the stage with the batches of a row, as `carclf.train` does; returns the seconds of finding boxes."""
    from carclf.device import select_device

    manifest, directory = load_manifest(options.data), folder / row.name
    device = select_device(options.device, precision=options.precision)

    from carclf.runs.opening import open_run
    from carclf.train import begin_run, finish_run
    from carclf.training.stage import plan_stage
    from carclf.training.stage_data import training_data
    from carclf.training.trainer import Trainer

    seconds = 0.0
    with open_run(directory, options=options, data=manifest) as opened:
        stage = plan_stage(opened.options, opened=opened, manifest=manifest, device=device)
        if row.source:
            boxes, seconds = kept_boxes(row.source, folder, manifest)
            known = {field.name: getattr(stage.recipe, field.name) for field in dataclasses.fields(Recipe)}
            recipe = GuidedRecipe(**known, boxes=boxes, cropped=row.cropped, erased=row.erased)
            stage = dataclasses.replace(stage, recipe=recipe)
        trainer = Trainer(stage, batches=repeated_batches if row.repeated else training_data)
        run = begin_run(stage, opened)
        finish_run(trainer, run=run, fit=trainer.train(opened))
    return seconds


def repeated_batches(stage: "Stage", *, cache: "DecodedCache | None", start_step: int = 0) -> "tf.data.Dataset":
    """Returns training batches of as many photos as the stage's, half of them other draws of the other half.

    An epoch has as many steps as the stage's, and so half of the photos.
    """
    import tensorflow as tf

    from carclf.training.stage_data import training_data

    half = dataclasses.replace(stage.phase, batch_size=stage.phase.batch_size // 2)
    first = dataclasses.replace(stage, phase=half)
    second = dataclasses.replace(first, recipe=SecondDraw(stage.recipe.spec, stage.recipe.steps))
    pairs = tf.data.Dataset.zip(*(training_data(one, cache=cache, start_step=start_step) for one in (first, second)))
    return pairs.map(lambda *draws: tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *draws))


if __name__ == "__main__":
    run_command(main, GuidedOptions, description=__doc__ or "")
