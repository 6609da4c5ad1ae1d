"""Writes ONNX files: a SavedModel through tf2onnx, with what TensorFlow has and ONNX has not replaced."""

import shutil
from pathlib import Path

from carclf.children import run_module
from carclf.engines.frozen import leave_out_xla
from carclf.engines.onnx_graph import ONNX_OPSET, replace_erfc
from carclf.errors import UserError
from carclf.scratch import scratch_folder


def write_onnx(saved_model: Path, path: Path) -> None:
    """Converts with tf2onnx's command: from Python it always turns EfficientNet's normalization constants into inputs.

    Raises:
      UserError: tf2onnx cannot convert it.
    """
    import onnx

    with scratch_folder() as folder:
        source = folder / "saved_model"
        shutil.copytree(saved_model, source)
        _unmark(source / "saved_model.pb")
        files = ("--saved-model", str(source), "--output", str(path))
        answer = run_module("tf2onnx.convert", *files, "--opset", str(ONNX_OPSET))
    if answer.returncode or not path.is_file():
        reason = (answer.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"tf2onnx could not convert the model ({reason}): choose another --format.")
    model = onnx.load(path)
    replace_erfc(model)
    onnx.save(model, path)


def _unmark(path: Path) -> None:
    """Takes the mark of XLA from the functions in a SavedModel."""
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for meta in model.meta_graphs:
        leave_out_xla(meta.graph_def)
    path.write_bytes(model.SerializeToString())
