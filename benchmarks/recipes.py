"""Compares two ways to train the same network for the same number of epochs: the 2020 notebook's and carclf's.

In each fold both start from the same head, trained once. Their predictions of held-out photos are pooled over the
folds, and McNemar's test estimates whether the difference could be chance.
Example: python benchmarks/recipes.py --data=data/photos --weights=mobilenet_v2_notop.h5 --json=recipes.json"""

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
from held_out import compare_right, correct
from measuring import run_python, scratch_folder

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option, same_option
from carclf.train_options import TrainOptions

# Optimizer, rate and augmentation of its fine-tuning stages. Source: stages/notebook_b3_300_half.flags.
NOTEBOOK = "--augment=notebook --learning_rate=1e-4 --schedule=exponential --lr_decay=0.9"
OURS = (
    "--augment=flip|rotate(5)|shift(0.08)|zoom(0.15)|brightness(0.8,1.2) --learning_rate=3e-4 --schedule=cosine "
    "--warmup_epochs=1 --label_smoothing=0.1"
)


@dataclasses.dataclass(frozen=True)
class RecipesOptions(Options):
    """Every option of this benchmark."""

    data: str = option("", "Folder that tools/make_tfrecords.py wrote.")
    weights: str = same_option(TrainOptions, "weights", default="imagenet")
    backbone: str = same_option(TrainOptions, "backbone", default="mobilenet_v2")
    image_size: int = option(128, "Pixels per side.", low=1)
    batch_size: int = option(32, "Photos per step.", low=1)
    folds: int = option(3, "How many folds to hold out, one after the other.", low=1)
    head_epochs: int = option(4, "Epochs of the head that both start from.", low=1)
    epochs: int = option(8, "Epochs of all layers, for each way.", low=1)
    notebook: str = option(NOTEBOOK, "Flags of the notebook's way.")
    ours: str = option(OURS, "Flags of the other way.")
    json: str = option("", "Also write the figures to this file.")

    def __post_init__(self) -> None:
        """Checks each option, and the rules among them."""
        super().__post_init__()
        if not self.data:
            raise UserError("--data is missing: give the folder that tools/make_tfrecords.py wrote.")


def main(options: RecipesOptions) -> None:
    """Trains, compares and prints."""
    with scratch_folder() as scratch:
        right = pd.concat([compare(options, scratch, fold) for fold in range(options.folds)], ignore_index=True)
    figures = summary(right)
    print(table(figures))
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def compare(options: RecipesOptions, scratch: Path, fold: int) -> pd.DataFrame:
    """Returns the columns fold, notebook and ours: whether each way was right about each photo of the fold."""
    shared = [f"--data={options.data}", f"--runs={scratch}", f"--val_fold={fold}", "--cache=ram", "--device=auto"]
    shared += [f"--backbone={options.backbone}", f"--image_size={options.image_size}", "--amsgrad", "--patience=0"]
    shared += [f"--batch_size={options.batch_size}"]
    head = ["--unfreeze=head", "--feature_views=1", f"--epochs={options.head_epochs}", f"--weights={options.weights}"]
    run_python("-m", "carclf.train", f"--run=head{fold}", *head, *shared)
    right: dict[str, Any] = {"fold": fold}
    for way in ("notebook", "ours"):
        name, start = f"{way}{fold}", f"--init_from=head{fold}"
        run_python(
            "-m",
            "carclf.train",
            f"--run={name}",
            start,
            f"--epochs={options.epochs}",
            *shared,
            *shlex.split(getattr(options, way)),
        )
        answers = scratch / f"{name}.csv"
        run_python(
            "-m",
            "carclf.predict",
            f"--run={name}",
            f"--runs={scratch}",
            shared[0],
            "--split=val",
            f"--output={answers}",
        )
        right[way] = pd.Series(correct(Path(options.data), answers))
        print(f"fold {fold}, {way}: {right[way].mean():.3f}", flush=True)
    return pd.DataFrame(right)


def summary(right: pd.DataFrame) -> dict[str, Any]:
    """Returns the accuracies, by fold and pooled, and McNemar's exact test of the pooled difference."""
    found = compare_right(right["ours"].tolist(), right["notebook"].tolist())
    return {
        "photos": len(right),
        "by_fold": right.groupby("fold")[["notebook", "ours"]].mean().to_dict("list"),
        "notebook": float(right["notebook"].mean()),
        "ours": float(right["ours"].mean()),
        "fixed": found.fixed,
        "broken": found.broken,
        "p": found.p_value,
    }


def table(figures: dict[str, Any]) -> str:
    """Returns the figures as a printable table."""
    lines = [f"{figures['photos']} photos held out, in {len(figures['by_fold']['ours'])} folds"]
    for way in ("notebook", "ours"):
        folds = ", ".join(f"{accuracy:.3f}" for accuracy in figures["by_fold"][way])
        lines.append(f"  {way:<10}{figures[way]:.3f}  ({folds})")
    lines.append(f"  ours against the notebook's: +{figures['fixed']} -{figures['broken']}, p={figures['p']:.2g}")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main, RecipesOptions, description=__doc__ or "")
