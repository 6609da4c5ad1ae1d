"""The table of export formats: how to write each from a SavedModel, and how to run it in its own runtime."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from carclf.engines.frozen import quiet_converters
from carclf.errors import UserError
from carclf.exporting.onnx_files import write_onnx
from carclf.extras import install_command, missing_packages
from carclf.start_messages import without_start_messages

Predict = Callable[[np.ndarray], np.ndarray]  # pixels uint8 [B, h, w, 3] → probabilities float32 [B, K]

INPUT, OUTPUT = "pixels", "probabilities"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
    """One row of `FORMATS`.

    Attributes:
      title: its display name.
      file: name of the model in the export's folder.
      any_size: whether it takes photos of any size; otherwise all are resized to one.
      quantized: whether its weights are rounded, so that its probabilities may differ from the run's.
      packages: modules that must be importable, with their names on pip.
      write: writes the model from the SavedModel at the first path to the second.
      load: returns a function that runs the model at a path in its own runtime.
      example: Python that classifies photo.jpg, to be run in the export's folder; the card puts the lines that resize
        the photo, if any, in place of {resize}.
    """

    title: str
    file: str
    any_size: bool
    quantized: bool = False
    packages: dict[str, str]
    write: Callable[[Path, Path], None]
    load: Callable[[Path], Predict]
    example: str


def write_saved_model(model: keras.Model, path: Path) -> None:
    """Writes a SavedModel with the signature `serving_default` from `pixels` to `probabilities`."""
    with quiet_converters():
        model.export(str(path), format="tf_saved_model", verbose=False)


def check_packages(form: Format) -> None:
    """Checks that the packages of the format are installed.

    Raises:
      UserError: one is missing.
    """
    if missing := missing_packages(form.packages):
        raise UserError(
            f"{form.title} needs {' and '.join(missing)}, which {'are' if len(missing) > 1 else 'is'} not installed: "
            f"{install_command('export')}."
        )


def _keep(saved_model: Path, path: Path) -> None:
    saved_model.rename(path)  # both are on the same disk


def _write_litert(saved_model: Path, path: Path) -> None:
    path.write_bytes(_litert(saved_model, quantized=False))


def _write_litert_int8(saved_model: Path, path: Path) -> None:
    path.write_bytes(_litert(saved_model, quantized=True))


def _litert(saved_model: Path, *, quantized: bool) -> bytes:
    with quiet_converters():
        import tensorflow as tf

        converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
        if quantized:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        return bytes(converter.convert())


def _load_saved_model(path: Path) -> Predict:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    return lambda pixels: loaded.signatures["serving_default"](pixels=tf.constant(pixels))[OUTPUT].numpy()


def _load_onnx(path: Path) -> Predict:
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base of their own
        known = re.search(r"No Op registered for (\w+)", str(error))
        reason = f"it lacks the operation {known[1]}" if known else str(error).strip().split("\n")[0][:200]
        raise UserError(f"ONNX Runtime cannot run what tf2onnx wrote ({reason}): choose another --format.") from None
    return lambda pixels: session.run([OUTPUT], {INPUT: pixels})[0]


def _load_litert(path: Path) -> Predict:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    with without_start_messages():
        interpreter.allocate_tensors()
    index = interpreter.get_input_details()[0]["index"]

    def predict(pixels: np.ndarray) -> np.ndarray:
        interpreter.resize_tensor_input(index, pixels.shape)
        interpreter.allocate_tensors()
        return interpreter.get_signature_runner()(pixels=pixels)[OUTPUT]

    return predict


_PHOTO = """import numpy as np
from PIL import Image, ImageOps
{imports}
photo = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
{resize}
pixels = np.asarray(photo)[None]  # uint8 [1, height, width, 3]
{run}
labels = open("labels.txt", encoding="utf-8").read().splitlines()
print(labels[probabilities.argmax()], probabilities.max())"""


def _example(*, imports: str, run: str) -> str:
    return _PHOTO.replace("{imports}", imports).replace("{run}", run)


_LITERT_EXAMPLE = _example(
    imports="from ai_edge_litert.interpreter import Interpreter\n",
    run='classify = Interpreter("model.tflite").get_signature_runner()\n'
    'probabilities = classify(pixels=pixels)["probabilities"][0]',
)

FORMATS: dict[str, Format] = {
    "savedmodel": Format(
        title="SavedModel",
        file="saved_model",
        any_size=True,
        packages={},
        write=_keep,
        load=_load_saved_model,
        example=_example(
            imports="import tensorflow as tf\n",
            run='model = tf.saved_model.load("saved_model")\n'
            'answer = model.signatures["serving_default"](pixels=tf.constant(pixels))\n'
            'probabilities = answer["probabilities"].numpy()[0]',
        ),
    ),
    "onnx": Format(
        title="ONNX",
        file="model.onnx",
        any_size=True,
        packages={"tf2onnx": "tf2onnx", "onnxruntime": "onnxruntime"},
        write=write_onnx,
        load=_load_onnx,
        example=_example(
            imports="import onnxruntime\n",
            run='session = onnxruntime.InferenceSession("model.onnx")\n'
            'probabilities = session.run(["probabilities"], {"pixels": pixels})[0][0]',
        ),
    ),
    "litert": Format(
        title="LiteRT, float32",
        file="model.tflite",
        any_size=False,
        packages={"ai_edge_litert": "ai-edge-litert"},
        write=_write_litert,
        load=_load_litert,
        example=_LITERT_EXAMPLE,
    ),
    "litert_int8": Format(
        title="LiteRT, dynamic-range int8",
        file="model.tflite",
        any_size=False,
        quantized=True,
        packages={"ai_edge_litert": "ai-edge-litert"},
        write=_write_litert_int8,
        load=_load_litert,
        example=_LITERT_EXAMPLE,
    ),
}
