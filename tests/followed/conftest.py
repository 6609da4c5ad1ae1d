from typing import Any

import pytest

from carclf import hashed_json, runs
from carclf.flags import to_dict
from carclf.train_options import TrainOptions


@pytest.fixture
def made(dataset, tmp_path):
    """A function that writes what a training writes of a run but for its weights, and returns the run."""

    def write(
        name: str, *, finished: bool = True, data: dict[str, Any] | None = None, preset: Any = None, **changes: Any
    ) -> runs.Run:
        entry = {
            "directory": dataset.directory,
            "fingerprint": dataset.fingerprint,
            "class_names": list(dataset.class_names),
            "class_map_sha256": dataset.class_map_sha256,
            "max_side": dataset.max_side,
        }
        stage = {
            "format_version": runs.FORMAT_VERSION,
            "stage": name,
            "options": to_dict(TrainOptions(backbone="tiny", weights="none", **changes)),
            "data": entry | (data or {}),
            "parent": None,
            "device": {"precision": "float32"},
            **({"preset": preset} if preset else {}),
        }
        directory = tmp_path / "runs" / name
        directory.mkdir(parents=True, exist_ok=True)
        hashed_json.write(directory / runs.STAGE_FILE, stage)
        if finished:
            hashed_json.write(directory / runs.METRICS_FILE, {"val_accuracy": 0.5})
        return runs.load_run(directory)

    return write
