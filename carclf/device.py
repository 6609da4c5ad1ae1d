"""Chooses device and Keras backend before TensorFlow or Keras is imported, and reports the choice in one line."""

import contextlib
import dataclasses
import gc
import glob
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from carclf.errors import UserError
from carclf.extras import install_command
from carclf.onednn import LEFT_TO_TENSORFLOW, ON, choose_onednn
from carclf.optional_packages import without_optional_packages
from carclf.progress import Progress
from carclf.start_messages import without_start_messages

DEVICES = ("auto", "cpu", "gpu", "mirrored", "tpu")
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
BFLOAT16_CAPABILITY = (8, 0)  # NVIDIA Ampere; older cards (P100, T4) have float16 only
# A host counts as dead after this time without a heartbeat. JAX's 100 s end a run whose cores compile and decode.
HEARTBEAT_SECONDS = 600
# Newer TPUs appear as /dev/vfio, but so do other devices. Source: jax/_src/hardware_utils.py of JAX 0.10 (v2 to 7x).
GOOGLE_PCI_VENDOR = "0x1ae0"
TPU_PCI_DEVICES = ("0x0027", "0x0056", "0x005e", "0x0062", "0x0063", "0x006f", "0x0076")


@dataclasses.dataclass(frozen=True)
class Hosts:
    """The machines that train together.

    Attributes:
      count: number of machines.
      this: number of this machine, counted from 0.
      coordinator: ADDRESS:PORT of host 0.
    """

    count: int = 1
    this: int = 0
    coordinator: str = ""


@dataclasses.dataclass(frozen=True)
class Device:
    """The devices and the backend that a run uses.

    Attributes:
      kind: 'cpu', 'gpu' or 'tpu'.
      backend: 'tensorflow' or 'jax', the Keras backend.
      replicas: number of devices that share each batch.
      precision: the Keras dtype policy.
      jit: whether XLA compiles the training step.
      strategy: the `tf.distribute` strategy, or None for a single device and on JAX.
      hosts: number of machines that train together, with their devices.
      onednn: '1' or '0' if a CPU computes with or without oneDNN, '' if that is left to TensorFlow or does not matter.
    """

    kind: str
    backend: str
    replicas: int
    precision: str
    jit: bool
    strategy: Any = dataclasses.field(default=None, compare=False, repr=False)
    hosts: int = 1
    onednn: str = LEFT_TO_TENSORFLOW

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Returns the context in which to create variables."""
        return self.strategy.scope() if self.strategy is not None else contextlib.nullcontext()

    @property
    def fuses_steps(self) -> bool:
        """Whether an optimizer's step may be a kernel of TensorFlow's own: XLA and strategies need Keras's."""
        return self.backend == "tensorflow" and self.replicas == 1 and not self.jit

    def prefetched(self, dataset: Any) -> Any:
        """Returns the batches of a `tf.data.Dataset`, copying the next one to the GPU while the GPU computes.

        On JAX, Keras does that itself; under a strategy, TensorFlow does. A CPU needs no copy.
        """
        if self.kind != "gpu" or self.backend != "tensorflow" or self.strategy is not None:
            return dataset
        return copied_to_gpu(dataset)

    def padded_batch_size(self, batch_size: int) -> int:
        """Returns the smallest number ≥ `batch_size` of photos that all replicas share evenly; padding fills it."""
        return -(-batch_size // self.replicas) * self.replicas

    def describe(self) -> str:
        """Returns one line for people."""
        count = f"{self.replicas} {self.kind.upper()}{'s' if self.replicas > 1 else ''}"
        xla = "compiled by XLA" if self.jit else "not compiled by XLA"
        count += f" of {self.hosts} hosts" if self.hosts > 1 else ""
        kernels = ", oneDNN on" if self.onednn == ON else ""
        return f"Device: {count}, Keras on {self.backend}, {self.precision}, training step {xla}{kernels}."


def select_device(
    device: str,
    *,
    precision: str = "auto",
    cpu_devices: int = 1,
    hosts: Hosts = Hosts(),
    onednn: str | None = None,
) -> Device:
    """Chooses backend and devices; sets `KERAS_BACKEND`, the dtype policy, memory growth and oneDNN.

    Call it before anything imports TensorFlow or Keras. `KERAS_BACKEND` and `TF_ENABLE_ONEDNN_OPTS` in the environment
    override the choice.

    Args:
      device: one of `DEVICES`. 'auto' takes a TPU, else all GPUs, else the CPU.
      precision: one of `PRECISIONS`; 'auto' is bfloat16 if the device has it, float16 on older GPUs, else float32.
      cpu_devices: number of devices to split the CPU into, to rehearse several replicas.
      hosts: the machines that train together; the others must call this, too.
      onednn: what a resumed run was begun with (`carclf.onednn`); None for what starts afresh.

    Raises:
      UserError: the requested device is missing or no CPU to split, or a package is not installed.
    """
    backend = os.environ.get("KERAS_BACKEND") or ("jax" if _wants_tpu(device) else "tensorflow")
    os.environ["KERAS_BACKEND"] = backend
    if backend == "tensorflow" and device == "auto" and tpu_present():
        print(
            "Warning: This machine has a TPU, which KERAS_BACKEND=tensorflow cannot use: unset KERAS_BACKEND to "
            "compute on it.",
            file=sys.stderr,
            flush=True,
        )
    _require("tensorflow", why="decodes the photos on every device")
    _require("keras", why="holds the models")
    check_backend(backend)
    if backend == "jax":
        _require("jax", why="is the backend for TPUs")
    choose = _tensorflow_device if backend == "tensorflow" else _jax_device
    kernels = choose_onednn(onednn) if backend == "tensorflow" else LEFT_TO_TENSORFLOW
    with (
        Progress("Starting TensorFlow and Keras"),
        without_start_messages(),
        without_optional_packages(needed=[backend]),
    ):
        chosen = choose(device, cpu_devices=cpu_devices, precision=precision, hosts=hosts)
        import keras

        keras.config.set_dtype_policy(chosen.precision)
    gc.freeze()  # a million objects that stay: looking for garbage among them again and again takes seconds
    return dataclasses.replace(chosen, onednn=kernels) if chosen.kind == "cpu" else chosen


def copied_to_gpu(dataset: Any) -> Any:
    """Returns the batches of a `tf.data.Dataset` on the first GPU; each is copied while the one before runs."""
    import tensorflow as tf

    return dataset.apply(tf.data.experimental.prefetch_to_device("/GPU:0"))


def check_backend(backend: str) -> None:
    """Checks that carclf works with this Keras backend.

    Raises:
      UserError: it does not.
    """
    if backend not in ("tensorflow", "jax"):
        raise UserError(f"KERAS_BACKEND={backend} is not supported: unset it, or set it to tensorflow or jax.")


@contextlib.contextmanager
def building_in(precision: str) -> Iterator[None]:
    """Gives layers that are built in this context a precision, whatever Keras's policy is, which stays as it was.

    Args:
      precision: one of `PRECISIONS`; 'auto' is float32.
    """
    import keras

    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if precision == "auto" else precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


def tpu_present() -> bool:
    """Returns whether this machine has a TPU, without importing any framework."""
    named = os.environ.get("TPU_NAME") or os.environ.get("TPU_ACCELERATOR_TYPE")
    return bool(named or glob.glob("/dev/accel*")) or any(map(_is_tpu, glob.glob("/sys/bus/pci/devices/*")))


def _is_tpu(pci_device: str) -> bool:
    try:
        vendor, model = (Path(pci_device, name).read_text().strip() for name in ("vendor", "device"))
    except OSError:
        return False
    return vendor == GOOGLE_PCI_VENDOR and model in TPU_PCI_DEVICES


def _wants_tpu(device: str) -> bool:
    return device == "tpu" or (device == "auto" and tpu_present())


def _require(package: str, *, why: str) -> None:
    if importlib.util.find_spec(package) is None:
        extra = "tpu" if tpu_present() else "cpu"
        raise UserError(
            f"{package} is not installed, and it {why}: {install_command(extra)} "
            "(extras: cpu, gpu, tpu; one of them, since they share folders)."
        )


def _tensorflow_device(device: str, *, cpu_devices: int, precision: str, hosts: Hosts) -> Device:
    if hosts.count > 1:
        raise UserError(
            f"--num_hosts={hosts.count} needs Keras on JAX, which several hosts share: set KERAS_BACKEND=jax."
        )
    if device == "tpu":
        raise UserError("--device=tpu needs Keras on JAX, and KERAS_BACKEND=tensorflow is set: unset it.")
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise UserError(
            "--device=gpu was asked for and TensorFlow sees no GPU: check nvidia-smi, replace a CPU build of "
            f"TensorFlow (pip uninstall tensorflow-cpu, then {install_command('gpu')}), or use --device=cpu."
        )
    kind = "gpu" if gpus and device != "cpu" else "cpu"
    _check_cpu_devices(cpu_devices, device=device, kind=kind)
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
            "use --device=auto, or rehearse on the CPU with --device=cpu --cpu_devices=2."
        )
    if tf.__version__.startswith("2.20."):
        # It reports its first compilation; here that is held back.
        with tf.device("CPU:0"):
            tf.function(tf.identity, jit_compile=True)(0)
    mirrored = len(names) > 1
    policy = _policy(precision, kind, capability=_gpu_capability(gpus) if kind == "gpu" else None)
    # jit_compile breaks under MirroredStrategy in Keras 3, and on a CPU XLA makes training many times slower.
    jit = kind == "gpu" and not mirrored
    strategy = tf.distribute.MirroredStrategy(names) if mirrored else None
    return Device(kind=kind, backend="tensorflow", replicas=len(names), precision=policy, jit=jit, strategy=strategy)


def _check_cpu_devices(cpu_devices: int, *, device: str, kind: str) -> None:
    """Checks that --cpu_devices is given for a CPU.

    Raises:
      UserError: it is not.
    """
    if cpu_devices > 1 and kind != "cpu":
        raise UserError(
            f"--cpu_devices={cpu_devices} is not possible: --device={device} is this machine's {kind.upper()}, and "
            "only a CPU is split; add --device=cpu, or leave --cpu_devices out."
        )


def _gpu_capability(gpus: list[Any]) -> tuple[int, int]:
    import tensorflow as tf

    return min(tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus)


def _jax_device(device: str, *, cpu_devices: int, precision: str, hosts: Hosts) -> Device:
    if cpu_devices > 1:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={cpu_devices}".strip()
    if device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    if device == "tpu" and (reason := _why_no_tpu()):
        raise UserError(reason)
    import jax
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")  # the GPU is for JAX; TensorFlow only decodes here
    if hosts.count > 1:
        _join(hosts)
    try:
        devices = jax.devices()
    except RuntimeError as error:
        raise UserError(
            f"JAX cannot use its device ({str(error).splitlines()[0]}): end the other process or notebook that holds "
            "it, or restart the runtime."
        ) from None
    kind = {"gpu": "gpu", "cuda": "gpu", "tpu": "tpu"}.get(devices[0].platform, "cpu")
    if device in ("gpu", "tpu") and kind != device:
        raise UserError(
            f"--device={device} was asked for and JAX sees only {devices[0].platform.upper()}: choose a runtime with a "
            f"{device.upper()}, pip install 'jax[{'tpu' if device == 'tpu' else 'cuda12'}]', or use --device=auto."
        )
    _check_cpu_devices(cpu_devices, device=device, kind=kind)
    if device == "mirrored" and len(devices) < 2:
        raise UserError("--device=mirrored needs several devices and JAX shows one: use --device=auto.")
    if len(devices) > 1:
        _share_batches(devices)
    if kind != "cpu":
        _keep_programs()
    policy = _policy(precision, kind, capability=_jax_capability(devices))
    return Device(kind=kind, backend="jax", replicas=len(devices), precision=policy, jit=True, hosts=hosts.count)


def _jax_capability(devices: list[Any]) -> tuple[int, ...]:
    """Returns the least capability of NVIDIA GPUs; that of bfloat16 for other devices, which report none."""
    try:
        return min(tuple(int(part) for part in one.compute_capability.split(".")) for one in devices)
    except (AttributeError, ValueError):
        return BFLOAT16_CAPABILITY


def _why_no_tpu() -> str | None:
    """Returns what to do if `--device=tpu` cannot work; None if it may work."""
    if not tpu_present():
        return (
            "--device=tpu was asked for and this machine has no TPU: on Colab choose Runtime > Change runtime type > "
            "v5e-1 TPU, on Kaggle Settings > Accelerator > TPU v5e-8 (their images bring JAX and libtpu), elsewhere a "
            f"TPU VM and {install_command('tpu')}; --device=auto takes what is here."
        )
    if importlib.util.find_spec("libtpu") is None and not os.environ.get("TPU_LIBRARY_PATH"):
        return (
            "--device=tpu was asked for and libtpu, by which JAX reaches this machine's TPU, is not installed: "
            f"{install_command('tpu')}."
        )
    return None


def _join(hosts: Hosts) -> None:
    """Waits for the other hosts.

    Raises:
      UserError: they do not connect.
    """
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # how CPUs of several hosts communicate
    try:
        jax.distributed.initialize(
            hosts.coordinator,
            num_processes=hosts.count,
            process_id=hosts.this,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except RuntimeError as error:
        raise UserError(
            f"Host {hosts.this} of {hosts.count} did not meet the others at --coordinator={hosts.coordinator} "
            f"({str(error).splitlines()[0]}): start the same command on each, with --host=0 to {hosts.count - 1}."
        ) from None


def _keep_programs() -> None:
    """Keeps XLA's compiled programs on disk for the next stage, fold or command.

    Compiling an accelerator's training step takes XLA a minute or more. If the environment names a folder for JAX's
    programs (JAX_COMPILATION_CACHE_DIR), they stay there.
    """
    import jax

    if jax.config.jax_compilation_cache_dir is None:
        caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        jax.config.update("jax_compilation_cache_dir", os.path.join(caches, "carclf", "xla"))


def leave_other_hosts(device: Device) -> Device:
    """Returns this host's own devices, for models that are built from now on."""
    import jax

    _share_batches(jax.local_devices())
    return dataclasses.replace(device, replicas=jax.local_device_count(), hosts=1)


def take_one(device: Device) -> Device:
    """Returns one of the devices alone, for models that are built from now on: batches of any size fit it."""
    if device.backend == "jax":
        import keras

        keras.distribution.set_distribution(None)
    return dataclasses.replace(device, replicas=1, jit=device.jit or device.kind == "gpu", strategy=None)


def _share_batches(devices: list[Any]) -> None:
    import keras

    # Every host already reads its own part of each batch (`carclf.data.batches.HostSlice`).
    names = [f"{device.platform}:{device.id}" for device in devices]
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=names, auto_shard_dataset=False))


def _policy(precision: str, kind: str, *, capability: tuple[int, ...] | None) -> str:
    if precision != "auto":
        return precision
    if kind == "cpu":
        return "float32"
    if kind == "gpu" and (capability or (0, 0)) < BFLOAT16_CAPABILITY:
        return "mixed_float16"
    return "mixed_bfloat16"
