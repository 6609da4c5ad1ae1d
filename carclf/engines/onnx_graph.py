"""Frozen graphs as ONNX, through tf2onnx, with what TensorFlow has and ONNX has not replaced."""

from typing import TYPE_CHECKING

from carclf.engines.frozen import FrozenGraph, quiet_converters

if TYPE_CHECKING:
    import onnx

ONNX_OPSET = 18


def to_onnx(graph: FrozenGraph) -> bytes:
    """Returns the graph as an ONNX file; its input and its output are the only ones.

    Raises:
      Exception: tf2onnx cannot convert it; its errors have no common base.
    """
    import tf2onnx

    with quiet_converters():
        model, _ = tf2onnx.convert.from_graph_def(
            graph.definition, input_names=[graph.input], output_names=[graph.output], opset=ONNX_OPSET
        )
    replace_erfc(model)
    return bytes(model.SerializeToString())


def replace_erfc(model: "onnx.ModelProto") -> None:
    """Replaces every Erfc(x) in an ONNX model by 1 − Erf(x).

    TensorFlow computes GELU by Erfc, which tf2onnx passes on although ONNX has none.
    """
    import onnx
    from onnx import helper

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
