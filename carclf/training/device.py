"""Which device and which Keras backend: decided before TensorFlow or Keras is imported, and said in one line."""

import contextlib
import dataclasses
import glob
import importlib.util
import os
from typing import Any

from carclf.errors import UserError
from carclf.quiet import without_start_messages

DEVICES = ("auto", "cpu", "gpu", "mirrored", "tpu")
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
BFLOAT16_CAPABILITY = (8, 0)  # NVIDIA Ampere; older cards (P100, T4) have float16 only


@dataclasses.dataclass(frozen=True)
class Device:
    """The choice that the rest of a run follows.

    Attributes:
      kind: 'cpu', 'gpu' or 'tpu'.
      backend: 'tensorflow' or 'jax', the Keras backend.
      replicas: devices that share each batch.
      precision: the Keras dtype policy.
      jit: whether the training step is compiled by XLA.
      strategy: the `tf.distribute` strategy, or None for a single device and on JAX.
    """

    kind: str
    backend: str
    replicas: int
    precision: str
    jit: bool
    strategy: Any = dataclasses.field(default=None, compare=False, repr=False)

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """The context in which variables are made."""
        return self.strategy.scope() if self.strategy is not None else contextlib.nullcontext()

    def prefetched(self, dataset: Any) -> Any:
        """The batches of a `tf.data.Dataset`, the next one on its way to the GPU while this one is at work.

        Keras does that itself on JAX, and TensorFlow under a strategy; on a CPU there is nowhere to go.
        """
        if self.kind != "gpu" or self.backend != "tensorflow" or self.strategy is not None:
            return dataset
        import tensorflow as tf

        return dataset.apply(tf.data.experimental.prefetch_to_device("/GPU:0"))

    def describe(self) -> str:
        """One line for people."""
        count = f"{self.replicas} {self.kind.upper()}{'s' if self.replicas > 1 else ''}"
        xla = "compiled by XLA" if self.jit else "not compiled by XLA"
        return f"Device: {count}, Keras on {self.backend}, {self.precision}, training step {xla}."


def select_device(device: str, *, precision: str = "auto", cpu_devices: int = 1) -> Device:
    """Chooses backend and devices; sets `KERAS_BACKEND`, the dtype policy and memory growth.

    Call it before anything imports TensorFlow or Keras. `KERAS_BACKEND` in the environment overrides the backend.

    Args:
      device: one of `DEVICES`. 'auto' takes a TPU, else every GPU, else the CPU.
      precision: one of `PRECISIONS`; 'auto' is bfloat16 where the device has it, float16 on older GPUs, else float32.
      cpu_devices: how many devices to split the CPU into, to rehearse several replicas without them.

    Raises:
      UserError: the device asked for is not there, or a package is not installed.
    """
    backend = os.environ.get("KERAS_BACKEND") or ("jax" if _wants_tpu(device) else "tensorflow")
    os.environ["KERAS_BACKEND"] = backend
    _require("tensorflow", why="decodes the photos on every device")
    _require("keras", why="holds the models")
    if backend not in ("tensorflow", "jax"):
        raise UserError(f"KERAS_BACKEND={backend} is not supported: unset it, or set it to tensorflow or jax.")
    if backend == "jax":
        _require("jax", why="is the backend for TPUs")
    choose = _tensorflow_device if backend == "tensorflow" else _jax_device
    with without_start_messages():
        chosen = choose(device, cpu_devices=cpu_devices, precision=precision)
        import keras

        keras.config.set_dtype_policy(chosen.precision)
    return chosen


def tpu_present() -> bool:
    """Whether this machine shows a TPU, asked without importing anything."""
    return bool(glob.glob("/dev/accel*") or os.environ.get("TPU_NAME") or os.environ.get("TPU_ACCELERATOR_TYPE"))


def _wants_tpu(device: str) -> bool:
    return device == "tpu" or (device == "auto" and tpu_present())


def _require(package: str, *, why: str) -> None:
    if importlib.util.find_spec(package) is None:
        extra = "tpu" if tpu_present() else "cpu"
        raise UserError(
            f"{package} is not installed, and it {why}: "
            f"pip install 'carclf[{extra}]' (extras: cpu, gpu, tpu; one of them, since they share folders)."
        )


def _tensorflow_device(device: str, *, cpu_devices: int, precision: str) -> Device:
    if device == "tpu":
        raise UserError("--device=tpu needs Keras on JAX, and KERAS_BACKEND=tensorflow is set: unset it.")
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise UserError(
            "--device=gpu was asked for and TensorFlow sees no GPU: check nvidia-smi, install carclf[gpu] instead of "
            "carclf[cpu], or use --device=cpu."
        )
    kind = "gpu" if gpus and device != "cpu" else "cpu"
    if kind == "cpu":
        tf.config.set_visible_devices([], "GPU")
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * cpu_devices)
    else:
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
    names = [d.name for d in tf.config.list_logical_devices(kind.upper())]
    if device == "mirrored" and len(names) < 2:
        raise UserError(
            f"--device=mirrored needs several devices and this machine shows {len(names)} {kind.upper()}: "
            "use --device=auto, or rehearse on the CPU with --cpu_devices=2."
        )
    mirrored = len(names) > 1
    policy = _policy(precision, kind, capability=_gpu_capability(gpus) if kind == "gpu" else None)
    # Under MirroredStrategy jit_compile breaks in Keras 3, and on a CPU XLA makes training many times slower.
    jit = kind == "gpu" and not mirrored
    strategy = tf.distribute.MirroredStrategy(names) if mirrored else None
    return Device(kind=kind, backend="tensorflow", replicas=len(names), precision=policy, jit=jit, strategy=strategy)


def _gpu_capability(gpus: list[Any]) -> tuple[int, int]:
    import tensorflow as tf

    return min(tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus)


def _jax_device(device: str, *, cpu_devices: int, precision: str) -> Device:
    if cpu_devices > 1:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={cpu_devices}".strip()
    if device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")  # the GPU is JAX's; TensorFlow only decodes here
    try:
        devices = jax.devices()
    except RuntimeError as error:
        raise UserError(f"JAX cannot use its device ({str(error).splitlines()[0]}): check the runtime.") from None
    kind = {"gpu": "gpu", "cuda": "gpu", "tpu": "tpu"}.get(devices[0].platform, "cpu")
    if device in ("gpu", "tpu") and kind != device:
        raise UserError(
            f"--device={device} was asked for and JAX sees only {devices[0].platform.upper()}: choose a runtime with a "
            f"{device.upper()}, install carclf[{device}], or use --device=auto."
        )
    if device == "mirrored" and len(devices) < 2:
        raise UserError("--device=mirrored needs several devices and JAX shows one: use --device=auto.")
    if len(devices) > 1:
        import keras

        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=keras.distribution.list_devices()))
    policy = _policy(precision, kind, capability=BFLOAT16_CAPABILITY)
    return Device(kind=kind, backend="jax", replicas=len(devices), precision=policy, jit=True)


def _policy(precision: str, kind: str, *, capability: tuple[int, int] | None) -> str:
    if precision != "auto":
        return precision
    if kind == "cpu":
        return "float32"
    if kind == "gpu" and (capability or (0, 0)) < BFLOAT16_CAPABILITY:
        return "mixed_float16"
    return "mixed_bfloat16"
