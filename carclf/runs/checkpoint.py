"""Checkpoints on disk: two generations, each with everything needed to resume. Arrays and JSON, never pickle.

checkpoints/step-00000400.npz     every array, uncompressed
            step-00000400.json    written last, so it marks a complete checkpoint; hashes, identity and the small state
            best-00003.weights.h5 the best weights at the time of the checkpoints that name it
"""

import dataclasses
import hashlib
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from carclf import runs
from carclf.files import replacing, write_atomically, write_json
from carclf.runs.weights_files import checked_file, remove_weights, sha256_of, stored_hashes, write_weights

FORMAT_VERSION = 1
GENERATIONS = 2
OWN_FILES = re.compile(r"\.?(step-\d+\.(npz|json)|best-\d+\.weights\.h5)")  # or temporary files that a kill left
NUMBERS = "biuf"  # NumPy kinds that hold plain values only
HEADER_BYTES = 4096  # at most, per array
WHOLE_NUMBERS = ("int32", "int64", "uint32")  # Keras counts and seeds in another of them on another backend
IDENTITY_REASONS = {
    "options": "it was made with other options",
    "classes": "it was made for another list of classes",
    "data": "it was made from another data set",
}

ArraySpec = tuple[str, tuple[int, ...], str]
"""Name, shape and dtype of an array."""


class InvalidCheckpointError(Exception):
    """A checkpoint that cannot be resumed from; the message says why, as the end of a sentence."""


class NonFiniteStateError(Exception):
    """A state that contains NaN or infinity and is never saved; the message is the array's name."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Everything needed to resume.

    Attributes:
      step: optimizer steps since the stage began.
      arrays: float, integer or boolean arrays by name.
      state: the rest of the state, ready for JSON.
      best_epoch: epoch of the best weights, counted from 1, 0 for those before the first; None if there are none yet.
    """

    step: int
    arrays: Mapping[str, np.ndarray]
    state: Mapping[str, Any]
    best_epoch: int | None = None


class CheckpointFolder:
    """The checkpoints of one run.

    Args:
      directory: `checkpoints/` of the run; created by the first write.
      identity: what a checkpoint must share with this run, by the names in `IDENTITY_REASONS`.
      arrays: name, shape and dtype of the arrays in a checkpoint of this run, in order.
      best_weights: the run's best.weights.h5, which each checkpoint copies.

    Attributes:
      skipped: the JSON file of each checkpoint that `newest` could not load, and why.
    """

    def __init__(
        self, directory: Path, *, identity: Mapping[str, str], arrays: Sequence[ArraySpec], best_weights: Path
    ) -> None:
        self.directory = directory
        self._identity = dict(identity)
        self._specs = list(arrays)
        self._best_weights = best_weights
        self._best: dict[str, Any] | None = None  # epoch, file and sha256 of the current copy
        self._kept: list[set[str]] = []  # the files of each generation, the newest first
        self.skipped: dict[Path, str] = {}

    def newest_step(self) -> int:
        """Returns the step of this run's newest complete checkpoint without reading its arrays; 0 if there is none."""
        for path in stored_checkpoints(self.directory):
            try:
                return int(self._check(path)["step"])
            except InvalidCheckpointError:
                continue
        return 0

    def newest(self) -> Checkpoint | None:
        """Restores the best weights of the newest valid checkpoint and returns it; prints why it skips any other.

        Later calls of `write` keep it as the older generation, whatever the step numbers of those that were skipped.
        """
        for path in stored_checkpoints(self.directory):
            try:
                checkpoint, content = self._read(path)
            except InvalidCheckpointError as error:
                print(f"Skipped the checkpoint {path}: {error}.", flush=True)
                self.skipped[path] = str(error)
                continue
            self._best = content["best"]
            self._kept = [self._files(checkpoint.step, self._best)]
            self._restore_best_weights()
            return checkpoint
        return None

    def write(self, checkpoint: Checkpoint) -> None:
        """Writes a checkpoint and removes all but the newest `GENERATIONS`; a kill leaves the earlier ones.

        Raises:
          NonFiniteStateError: an array holds NaN or infinity; nothing is written.
          OSError: the files cannot be written, for example because the disk is full.
        """
        for name, array in checkpoint.arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise NonFiniteStateError(name)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._copy_best_weights(checkpoint.best_epoch)
        arrays_file = self.directory / f"step-{checkpoint.step:08d}.npz"
        digest = _write_arrays(arrays_file, list(checkpoint.arrays.values()))
        content = {
            "step": checkpoint.step,
            "arrays_file": {"bytes": arrays_file.stat().st_size, "sha256": digest},
            "identity": self._identity,
            "arrays": [list(spec) for spec in specs_of(checkpoint.arrays)],
            "best": self._best,
            "state": checkpoint.state,
        }
        write_json(
            arrays_file.with_suffix(".json"),
            {"format_version": FORMAT_VERSION, "sha256": _json_sha256(content), "content": content},
        )
        files = self._files(checkpoint.step, self._best)
        self._kept = [files, *(kept for kept in self._kept if arrays_file.name not in kept)][:GENERATIONS]
        self._remove_all_others()

    def _read(self, path: Path) -> tuple[Checkpoint, dict[str, Any]]:
        content = self._check(path)
        try:
            stored = self._check_specs(content)
            best_epoch = None if content["best"] is None else int(content["best"]["epoch"])
            step, state = int(content["step"]), dict(content["state"])
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidCheckpointError(f"it lacks or garbles {error}") from None
        arrays = _converted(_read_arrays(path.with_suffix(".npz"), stored), self._specs)
        return Checkpoint(step=step, arrays=arrays, state=state, best_epoch=best_epoch), content

    def _check(self, path: Path) -> dict[str, Any]:
        """Returns the content of the JSON file, after checking that all files are complete and belong to this run."""
        content = _read_content(path)
        try:
            self._check_identity(content)
            step, best = int(content["step"]), content["best"]
            arrays_file = path.with_suffix(".npz")
            _check_file(arrays_file, content["arrays_file"]["sha256"], size=content["arrays_file"]["bytes"])
            if best is not None:
                _check_file(self.directory / f"best-{int(best['epoch']):05d}.weights.h5", best["sha256"])
            if path.stem != f"step-{step:08d}":
                raise InvalidCheckpointError(f"it is the checkpoint of step {step} under another name")
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidCheckpointError(f"it lacks or garbles {error}") from None
        return content

    def _check_identity(self, content: Mapping[str, Any]) -> None:
        for name, reason in IDENTITY_REASONS.items():
            if content["identity"].get(name) != self._identity[name]:
                raise InvalidCheckpointError(reason)

    def _check_specs(self, content: Mapping[str, Any]) -> list[ArraySpec]:
        """Returns the arrays of a checkpoint, by this model's names and with the dtypes that they have in the file."""
        found = [(str(name), tuple(shape), str(dtype)) for name, shape, dtype in content["arrays"]]
        for theirs, ours in zip(found, self._specs, strict=False):
            if not _matches(theirs, ours):
                raise InvalidCheckpointError(f"it has {_say(theirs)} where this model has {_say(ours)}")
        if len(found) != len(self._specs):
            raise InvalidCheckpointError(f"it has {len(found)} arrays and this model {len(self._specs)}")
        return [(*ours[:2], theirs[2]) for theirs, ours in zip(found, self._specs, strict=True)]

    def _restore_best_weights(self) -> None:
        if self._best is None:
            remove_weights(self._best_weights)
            return
        content = (self.directory / f"best-{self._best['epoch']:05d}.weights.h5").read_bytes()
        as_written = self._best_weights.is_file() and stored_hashes(self._best_weights) == (self._best["sha256"],)
        if not as_written or self._best_weights.read_bytes() != content:
            write_weights(self._best_weights, content)

    def _copy_best_weights(self, epoch: int | None) -> None:
        if epoch is None or epoch == (self._best["epoch"] if self._best else None):
            return
        content = checked_file(self._best_weights).read_bytes()
        write_atomically(self.directory / f"best-{epoch:05d}.weights.h5", content)
        self._best = {"epoch": epoch, "sha256": hashlib.sha256(content).hexdigest()}

    def _files(self, step: int, best: Mapping[str, Any] | None) -> set[str]:
        names = {f"step-{step:08d}.npz", f"step-{step:08d}.json"}
        return names if best is None else names | {f"best-{best['epoch']:05d}.weights.h5"}

    def _remove_all_others(self) -> None:
        keep = set().union(*self._kept)
        for path in self.directory.iterdir():
            if path.name not in keep and OWN_FILES.match(path.name):
                path.unlink(missing_ok=True)


def checkpoint_folder(run: Path, *, identity: Mapping[str, str], arrays: Sequence[ArraySpec] = ()) -> CheckpointFolder:
    """Returns the checkpoints of a run; without `arrays`, which only a model knows, only `newest_step` works."""
    return CheckpointFolder(
        run / runs.CHECKPOINTS_FOLDER, identity=identity, arrays=arrays, best_weights=run / runs.BEST_WEIGHTS
    )


def stored_checkpoints(directory: Path) -> list[Path]:
    """Returns the JSON files of the checkpoints in a folder, valid or not, the newest first."""
    found = {path: re.fullmatch(r"step-(\d+)\.json", path.name) for path in directory.glob("step-*.json")}
    steps = {path: int(match[1]) for path, match in found.items() if match}
    return sorted(steps, key=lambda path: steps[path], reverse=True)


def specs_of(arrays: Mapping[str, np.ndarray]) -> list[ArraySpec]:
    """Returns name, shape and dtype of each array."""
    return [(name, tuple(array.shape), array.dtype.name) for name, array in arrays.items()]


def _write_arrays(path: Path, arrays: Sequence[np.ndarray]) -> str:
    """Writes the arrays and returns the SHA-256 of the file."""
    if unsafe := [array.dtype for array in arrays if array.dtype.kind not in NUMBERS]:
        raise TypeError(f"A checkpoint holds numbers only. Received: an array of {unsafe[0]}")
    with replacing(path) as temporary, open(temporary, "w+b") as file:
        np.savez(file, **{str(index): array for index, array in enumerate(arrays)})  # type: ignore[arg-type]
    return sha256_of(path)


def _read_content(path: Path) -> dict[str, Any]:
    try:
        file = json.loads(path.read_text(encoding="utf-8"))
        version, content, digest = file["format_version"], file["content"], file["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise InvalidCheckpointError("its JSON is cut short or garbled") from None
    if version != FORMAT_VERSION:
        raise InvalidCheckpointError(
            f"it has format version {version} and this version of carclf reads {FORMAT_VERSION}"
        )
    if not isinstance(content, dict) or digest != _json_sha256(content):
        raise InvalidCheckpointError("its JSON was changed after it was written")
    return content


def _json_sha256(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _check_file(path: Path, digest: str, *, size: int | None = None) -> None:
    if not path.is_file():
        raise InvalidCheckpointError(f"{path.name} is missing")
    found = path.stat().st_size
    if size is not None and found != size:
        raise InvalidCheckpointError(f"{path.name} has {found} bytes instead of {size}")
    if sha256_of(path) != digest:
        raise InvalidCheckpointError(f"{path.name} was changed after it was written")


def _read_arrays(path: Path, specs: Sequence[ArraySpec]) -> dict[str, np.ndarray]:
    """Returns the arrays by name: numbers only, and none larger than the model expects, whatever the file claims."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
        for index, (name, shape, dtype) in enumerate(specs):
            info = members[f"{index}.npy"]
            expected = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
            if info.compress_type != zipfile.ZIP_STORED or not 0 < info.file_size - expected <= HEADER_BYTES:
                raise InvalidCheckpointError(f"{path.name} holds something else than {name}")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[str(index)] for index, (name, _, _) in enumerate(specs)}
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise InvalidCheckpointError(f"{path.name} cannot be read as plain arrays ({error})") from None
    if specs_of(arrays) != list(specs):
        raise InvalidCheckpointError(f"{path.name} holds other arrays than it says")
    return arrays


def _matches(theirs: ArraySpec, ours: ArraySpec) -> bool:
    # Keras writes the name of an optimizer in capitals, lower case or both, depending on its version.
    same = (theirs[0].casefold(), theirs[1]) == (ours[0].casefold(), ours[1])
    return same and (theirs[2] == ours[2] or (theirs[2] in WHOLE_NUMBERS and ours[2] in WHOLE_NUMBERS))


def _converted(arrays: Mapping[str, np.ndarray], specs: Sequence[ArraySpec]) -> dict[str, np.ndarray]:
    """Returns the arrays with the dtypes of `specs`, every value unchanged."""
    for name, _, dtype in specs:
        array = arrays[name]
        if array.dtype != dtype and (array.astype(dtype).astype(np.int64) != array).any():
            raise InvalidCheckpointError(f"it has numbers in {name} that {dtype} cannot hold")
    return {name: arrays[name].astype(dtype, copy=False) for name, _, dtype in specs}


def _say(spec: ArraySpec) -> str:
    name, shape, dtype = spec
    return f"{name} ({dtype} {'x'.join(map(str, shape)) or 'scalar'})"
