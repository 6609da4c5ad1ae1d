"""`python -m carclf.export`: writes a run as a file for other programs, and checks it in the runtime for it."""

import dataclasses
from typing import TYPE_CHECKING

from carclf import runs
from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option, refuse, require_flags, same_option
from carclf.prediction_options import PredictionOptions
from carclf.progress import Progress
from carclf.storage import copies

if TYPE_CHECKING:
    from carclf.data.manifest import Manifest
    from carclf.exporting.run_export import Exported

DESCRIPTION = """Exports a run as SavedModel, ONNX or LiteRT, from photos to probabilities, with a model card.

The model is run in its own runtime on validation photos, and written only if its probabilities are those of the run.
Example: python -m carclf.export --run=runs/b3_512 --format=onnx --output=exported/b3_512"""


@dataclasses.dataclass(frozen=True)
class ExportOptions(Options):
    """Every option of `python -m carclf.export`."""

    required = ("run", "output")

    run: str = option("", "Run to export.", group="Data and run", path=True, urls=True)
    runs: str = same_option(PredictionOptions, "runs")
    format: str = option(
        "onnx",
        "File format of the model; litert_int8 is a quarter the size of litert.",
        names="carclf.exporting.formats:FORMATS",
        group="Export",
    )
    output: str = option(
        "",
        "Folder for the model, labels.txt, and the model card README.md.",
        group="Export",
        path=True,
        urls=True,
    )
    overwrite: bool = option(False, "Replace the folder if it exists.", group="Export")
    data: str = option(
        "", "Data set to check the export on; by default that of the run.", group="Check", path=True, urls=True
    )
    photos: int = option(64, "Number of validation photos on which the export is checked.", low=1, group="Check")

    def __post_init__(self) -> None:
        """Checks each option, then the rules between options."""
        super().__post_init__()
        require_flags(self, *self.required)
        named = self.output.lower().endswith((".onnx", ".tflite", ".pb"))
        refuse(named, "output", self.output, "it is a folder, in which the model lies beside labels.txt and README.md")


def main(options: ExportOptions) -> None:
    """Exports the run, and prints the results of the checks."""
    members = runs.load_members(options.run, runs=options.runs)
    run, *others = (run for member in members for run in member.runs)
    if others:
        raise UserError(f"An export holds one run, and --run={options.run} names {1 + len(others)}: name one of them.")

    from carclf.exporting.folder import check_free, put_back
    from carclf.inference.compatibility import check_classes, held_out_folds, load_labels

    output = copies.local_path(options.output)
    put_back(output)
    check_free(output, overwrite=options.overwrite)
    manifest = find_data(run, data=options.data)
    check_classes([run], manifest)
    (fold,) = held_out_folds(members, manifest)
    manifest = load_labels("", members=members, manifest=manifest)

    from carclf.device import select_device

    device = select_device("cpu", precision="float32")
    if device.backend != "tensorflow":
        raise UserError("Exports are made by Keras on TensorFlow, and KERAS_BACKEND is set to another one: unset it.")

    # Keras may be imported only from here on, after its backend was chosen.
    from carclf.exporting.formats import FORMATS, check_packages
    from carclf.exporting.run_export import export_run

    form = FORMATS[options.format]
    check_packages(form)
    with Progress("Exporting and checking"):
        exported = export_run(
            run,
            form=form,
            manifest=manifest,
            fold=fold,
            photos=options.photos,
            output=output,
            runs_folder=options.runs,
        )
    print_checks(exported)
    print(f"Export: {exported.model} ({exported.bytes / 1e6:.1f} MB), with labels.txt and README.md")


def print_checks(exported: "Exported") -> None:
    """Prints how far the exported model is from the run."""
    same, full, larger = exported.identical, exported.full, exported.larger
    print(f"Check: probabilities differ by at most {same.largest:.1e} on {same.photos} validation photos.")
    print(
        f"Full decoding: by {full.mean:.1e} in the mean; {full.same_class} of {full.photos} photos keep their class; "
        f"accuracy {full.accuracy:.3f} (the run: {full.run_accuracy:.3f}).\n"
        f"Photos enlarged to {larger.longest} pixels: by {larger.mean:.1e} in the mean; {larger.same_class} of "
        f"{larger.photos} keep their class."
    )


def find_data(run: runs.Run, *, data: str) -> "Manifest":
    """Returns the data set whose validation photos check the export: `data`, or the one the run was trained on.

    Raises:
      UserError: there is none.
    """
    from carclf.data.manifest import load_manifest

    recorded = run.stage["data"].get("directory", "")
    try:
        return load_manifest(data or recorded)
    except UserError as error:
        if data:
            raise
        raise UserError(
            f"The data set of the run {run.directory} is not where it was ({error}): say where it is with --data=DIR, "
            "since an export is checked on its validation photos."
        ) from None


if __name__ == "__main__":
    run_command(main, ExportOptions, description=DESCRIPTION)
