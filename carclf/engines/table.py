"""The table of engines: the packages of each, and how it is made from a network's frozen graph."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from carclf.engines.frozen import FrozenGraph, quiet_converters
from carclf.engines.onnx_graph import to_onnx
from carclf.extras import missing_packages
from carclf.scratch import scratch_folder

Forward = Callable[[np.ndarray], np.ndarray]  # images float32 [B, H, W, 3] in 0..255 → outputs float32 [B, …]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Engine:
    """One row of `ENGINES`.

    Attributes:
      title: its display name.
      load: returns the network in this engine, on a number of threads; None for Keras, which has it already.
      packages: modules that must be importable, with their names on pip; the extra has the name of the row.
      conversion: how long loading a frozen graph takes, in units of Keras's first batch, which compiles: an estimate.
    """

    title: str
    load: Callable[[FrozenGraph, int], Forward] | None = None
    packages: Mapping[str, str] = dataclasses.field(default_factory=dict)
    conversion: float = 0.0

    @property
    def missing(self) -> list[str]:
        """The packages that are not installed, by their names on pip."""
        return missing_packages(self.packages)


def load_onnxruntime(graph: FrozenGraph, threads: int) -> Forward:
    """Returns the network in ONNX Runtime.

    Raises:
      Exception: tf2onnx cannot convert it, or ONNX Runtime lacks an operation; their errors have no common base.
    """
    import onnxruntime

    model = to_onnx(graph)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # A thread that waits for work in a loop takes the core from the threads that decode.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


def load_openvino(graph: FrozenGraph, threads: int) -> Forward:
    """Returns the network in OpenVINO, which reads TensorFlow's graphs itself.

    Raises:
      Exception: OpenVINO lacks an operation.
    """
    import openvino

    with scratch_folder() as folder, quiet_converters():
        path = folder / "network.pb"
        path.write_bytes(graph.definition.SerializeToString())
        core = openvino.Core()
        model = core.read_model(path)
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",  # by default it rounds to bfloat16 on CPUs that have it
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # the cores are shared with the threads that decode
        }
        compiled = core.compile_model(model, "CPU", settings)
    return lambda images: np.array(compiled(images)[0])  # a copy: its own memory is reused by the next call


ENGINES: dict[str, Engine] = {
    "keras": Engine(title="Keras"),
    "onnxruntime": Engine(
        title="ONNX Runtime",
        load=load_onnxruntime,
        packages={"onnxruntime": "onnxruntime", "tf2onnx": "tf2onnx"},
        conversion=2.2,
    ),
    "openvino": Engine(title="OpenVINO", load=load_openvino, packages={"openvino": "openvino"}, conversion=0.4),
}
