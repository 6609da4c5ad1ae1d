"""Writes ONNX files: a SavedModel through tf2onnx, with what TensorFlow has and ONNX has not replaced."""

import shutil
import tempfile
from pathlib import Path

from carclf.children import run_module
from carclf.errors import UserError

ONNX_OPSET = 18
XLA_MARK = "_XlaMustCompile"


def write_onnx(saved_model: Path, path: Path) -> None:
    """Converts with tf2onnx's command: from Python it always turns EfficientNet's normalization constants into inputs.

    Raises:
      UserError: tf2onnx cannot convert it.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "saved_model"
        shutil.copytree(saved_model, source)
        _leave_out_xla(source / "saved_model.pb")
        files = ("--saved-model", str(source), "--output", str(path))
        answer = run_module("tf2onnx.convert", *files, "--opset", str(ONNX_OPSET))
    if answer.returncode or not path.is_file():
        reason = (answer.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"tf2onnx could not convert the model ({reason}): choose another --format.")
    replace_erfc(path)


def _leave_out_xla(path: Path) -> None:
    """Takes the mark of XLA from the functions in a SavedModel: tf2onnx would leave their calls as they are.

    Keras marks every convolution in groups, such as those of ConvNeXt.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for graph in (meta.graph_def for meta in model.meta_graphs):
        functions = list(graph.library.function)
        nodes = [node for part in functions for node in part.node_def]
        for marked in (*functions, *nodes, *graph.node):
            marked.attr.pop(XLA_MARK, None)
    path.write_bytes(model.SerializeToString())


def replace_erfc(path: Path) -> None:
    """Replaces every Erfc(x) in an ONNX file by 1 − Erf(x).

    TensorFlow computes GELU by Erfc, which tf2onnx passes on although ONNX has none.
    """
    import onnx
    from onnx import helper

    model = onnx.load(path)
    nodes = list(model.graph.node)
    if not any(node.op_type == "Erfc" for node in nodes):
        return
    del model.graph.node[:]
    model.graph.initializer.append(helper.make_tensor("erfc_one", onnx.TensorProto.FLOAT, [], [1.0]))
    for node in nodes:
        if node.op_type == "Erfc":
            erf = f"{node.output[0]}/erf"
            model.graph.node.append(helper.make_node("Erf", [node.input[0]], [erf]))
            node = helper.make_node("Sub", ["erfc_one", erf], [node.output[0]], name=node.name)
        model.graph.node.append(node)
    onnx.save(model, path)
