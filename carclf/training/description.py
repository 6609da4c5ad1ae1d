"""The content of stage.json: everything needed to understand a run, or to repeat it."""

import dataclasses
from typing import Any

from carclf import runs
from carclf.flags import to_dict
from carclf.runs.machine import describe_machine
from carclf.storage import copies
from carclf.training.stage import Stage


def describe_stage(stage: Stage) -> dict[str, Any]:
    """Returns the content of stage.json: everything needed to understand the run, or to repeat it."""
    manifest, parent = stage.manifest, stage.parent
    patch, pseudo = manifest.label_patch, manifest.pseudo_labels
    return {
        "format_version": runs.FORMAT_VERSION,
        "stage": runs.run_name(stage.directory),
        "options": to_dict(stage.options),
        **describe_machine(stage.device),
        "data": {
            "directory": str(manifest.directory),
            "fingerprint": manifest.fingerprint,
            "class_names": list(manifest.class_names),
            "class_labels": list(manifest.class_labels),
            "class_photos": [entry.count for entry in manifest.classes],
            "form": manifest.form.to_dict() if manifest.form else None,
            "class_map_sha256": manifest.class_map_sha256,
            "max_side": manifest.max_side,
            "train_photos": stage.train_photos,
            "val_photos": stage.val_photos,
            "label_patch": {"sha256": patch.sha256, "photos": len(patch.labels)} if patch else None,
            "pseudo_labels": {"sha256": pseudo.sha256, "photos": len(pseudo.labels)} if pseudo else None,
        },
        "metric": stage.metric.name,
        "phases": [dataclasses.asdict(phase) for phase in stage.phases],
        "features": dataclasses.asdict(stage.features) if stage.features else None,
        **({"preset": dataclasses.asdict(stage.preset)} if stage.preset else {}),
        "parent": {
            "run": copies.place_of(parent.directory),
            "stage": parent.stage["stage"],
            "val_accuracy": (parent.metrics or {})["val_accuracy"],
        }
        if parent
        else None,
    }
