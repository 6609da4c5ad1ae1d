import os
import subprocess
import sys
from pathlib import Path

import pytest

from carclf import device, onednn
from carclf.errors import UserError
from carclf.extras import install_command
from carclf.train_options import TrainOptions
from tests import commands

ROOT = Path(__file__).parents[1]
FORKED = {"forked": True}
ONEDNN = ", oneDNN on" if onednn._has_onednn() else ""


def choose(arguments: str, *, forked: bool = False, **environment: str) -> str:
    """Returns what `select_device` printed, in a separate process, because a process can choose only once.

    A forked process has imported TensorFlow and Keras, and used neither.
    """
    program = f"""
from carclf.errors import UserError
from carclf.device import Hosts, select_device
try:
    print(select_device({arguments}).describe())
except UserError as error:
    print("refused:", error)
"""
    if forked:
        return commands.run_program(program, folder=ROOT).stdout.strip().splitlines()[-1]
    chosen = ("KERAS_BACKEND", "TF_ENABLE_ONEDNN_OPTS")
    env = {k: v for k, v in os.environ.items() if k not in chosen} | environment
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, env=env, timeout=300
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        ("'auto'", {}, f"Device: 1 CPU, Keras on tensorflow, float32, training step not compiled by XLA{ONEDNN}."),
        ("'auto'", {"TF_ENABLE_ONEDNN_OPTS": "0"}, "training step not compiled by XLA."),
        (
            "'mirrored', cpu_devices=2",
            FORKED,
            "Device: 2 CPUs, Keras on tensorflow, float32, training step not compiled",
        ),
        ("'cpu', cpu_devices=2", FORKED, "Device: 2 CPUs, Keras on tensorflow"),
        ("'auto'", {"KERAS_BACKEND": "jax"}, "Device: 1 CPU, Keras on jax, float32, training step compiled by XLA."),
        ("'auto', cpu_devices=2", {"KERAS_BACKEND": "jax"}, "Device: 2 CPUs, Keras on jax"),
        ("'cpu', precision='mixed_bfloat16'", FORKED, "mixed_bfloat16"),
    ],
)
def test_the_choice_is_said_in_one_line(arguments, environment, said):
    assert said in choose(arguments, **environment)


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        ("'gpu'", FORKED, "refused: --device=gpu was asked for and TensorFlow sees no GPU"),
        (
            "'mirrored'",
            FORKED,
            "refused: --device=mirrored needs several devices and this machine shows 1 CPU: use --device=auto, or "
            "rehearse on the CPU with --device=cpu --cpu_devices=2.",
        ),
        (
            "'tpu'",
            {},
            "refused: --device=tpu was asked for and this machine has no TPU: on Colab choose Runtime > Change",
        ),
        (
            "'tpu'",
            {"TPU_NAME": "local"},
            "refused: --device=tpu was asked for and libtpu, by which JAX reaches this machine's TPU, is not "
            f"installed: {install_command('tpu')}.",
        ),
        (
            "'auto', hosts=Hosts(2, 0, 'a:1')",
            {},
            "refused: --num_hosts=2 needs Keras on JAX, which several hosts share",
        ),
        ("'tpu'", {"KERAS_BACKEND": "tensorflow"}, "refused: --device=tpu needs Keras on JAX"),
        ("'auto'", {"KERAS_BACKEND": "torch"}, "refused: KERAS_BACKEND=torch is not supported"),
    ],
)
def test_a_device_that_is_not_there_is_refused_never_replaced(arguments, environment, said):
    assert choose(arguments, **environment).startswith(said)


def test_a_missing_backend_names_the_extra(monkeypatch):
    monkeypatch.setattr(device.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    with pytest.raises(UserError, match=r"tensorflow is not installed.*pip install -e \S+\[cpu\]"):
        device.select_device("auto")


GPU_HERE = """
import types
import jax, tensorflow as tf
from carclf import device
from carclf.errors import UserError

tf.config.list_physical_devices = lambda kind: ["a GPU"]
jax.devices = lambda: [types.SimpleNamespace(platform="gpu", id=0, compute_capability=capability)]
for capability in ("7.5", "9.0", "12.0", "gfx90a"):
    print(device._jax_device("auto", cpu_devices=1, precision="auto", hosts=device.Hosts()).precision)
for choose in (device._tensorflow_device, device._jax_device):
    try:
        choose("auto", cpu_devices=2, precision="auto", hosts=device.Hosts())
    except UserError as error:
        print(error)
"""


def test_on_a_gpu_no_cpu_is_split_and_jax_computes_in_what_the_gpu_has():
    assert commands.run_program(GPU_HERE, folder=ROOT).stdout.splitlines() == [
        "mixed_float16", "mixed_bfloat16", "mixed_bfloat16", "mixed_bfloat16",
        *["--cpu_devices=2 is not possible: --device=auto is this machine's GPU, and only a CPU is split; add "
          "--device=cpu, or leave --cpu_devices out."] * 2,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("backend", "flag", "said"),
    [("tensorflow", "auto", True), ("tensorflow", "cpu", False), ("", "auto", False), ("jax", "auto", False)],
)
def test_a_tpu_that_the_backend_cannot_use_is_said(backend, flag, said, monkeypatch, capsys):
    monkeypatch.setattr(device.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setenv("TPU_NAME", "local")
    with pytest.raises(UserError, match="tensorflow is not installed"):
        device.select_device(flag)
    warning = "Warning: This machine has a TPU, which KERAS_BACKEND=tensorflow cannot use: unset KERAS_BACKEND"
    assert capsys.readouterr().err == (f"{warning} to compute on it.\n" if said else "")


@pytest.mark.parametrize(
    ("kind", "capability", "policy"),
    [
        ("cpu", None, "float32"),
        ("gpu", (6, 0), "mixed_float16"),
        ("gpu", (7, 5), "mixed_float16"),
        ("gpu", (8, 0), "mixed_bfloat16"),
        ("gpu", (9, 0), "mixed_bfloat16"),
        ("tpu", None, "mixed_bfloat16"),
    ],
)
def test_precision_follows_the_device(kind, capability, policy):
    assert device._policy("auto", kind, capability=capability) == policy
    assert device._policy("float32", kind, capability=capability) == "float32"


@pytest.mark.parametrize("own", [False, True])
def test_programs_that_xla_compiled_are_kept_for_the_next_command(own, tmp_path):
    program = """
import jax
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
from carclf.device import _keep_programs
_keep_programs()
jax.jit(lambda x: x * 3 + 1)(2.0)
"""
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "JAX_PLATFORMS": "cpu"}
    environment |= {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "own")} if own else {}
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, env=environment, timeout=300)
    assert any((tmp_path / "cache" / "carclf" / "xla").glob("*")) is not own
    assert any((tmp_path / "own").glob("*")) is own


@pytest.mark.parametrize(
    ("device_flag", "variable", "wanted"),
    [("auto", None, False), ("auto", "TPU_NAME", True), ("cpu", "TPU_NAME", False), ("tpu", None, True)],
)
def test_a_named_tpu_chooses_jax(device_flag, variable, wanted, monkeypatch):
    for name in ("TPU_NAME", "TPU_ACCELERATOR_TYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(device.glob, "glob", lambda pattern: [])
    if variable:
        monkeypatch.setenv(variable, "local")
    assert device._wants_tpu(device_flag) is wanted


@pytest.mark.parametrize(
    ("vendor", "model", "present"),
    [("0x1ae0", "0x0063", True), ("0x1ae0", "0x0042", False), ("0x10de", "0x0063", False)],
    ids=["TPU v5e", "Google's network card", "another maker's device"],
)
def test_a_tpu_is_known_by_what_it_is_on_the_bus(vendor, model, present, monkeypatch, tmp_path):
    (tmp_path / "vendor").write_text(f"{vendor}\n")
    (tmp_path / "device").write_text(f"{model}\n")
    for name in ("TPU_NAME", "TPU_ACCELERATOR_TYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(device.glob, "glob", lambda pattern: [str(tmp_path)] if "pci" in pattern else [])
    assert device.tpu_present() is present


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"host": 1}, "--host=1 is not possible: it must be below --num_hosts=1"),
        ({"num_hosts": 2}, "--num_hosts=2 is not possible: --coordinator must say where host 0 is reached"),
        (
            {"num_hosts": 2, "coordinator": "a:1", "swa_epochs": 2},
            "--swa_epochs=2 is not possible: it needs a single host",
        ),
    ],
)
def test_options_of_hosts_that_cannot_be(options, said):
    with pytest.raises(UserError, match=said):
        TrainOptions(**options)


SAME_STEPS = """
import contextlib
import keras, numpy as np
from carclf.model.optimizers import build_optimizer
from carclf.model.schedules import Factor
from carclf.device import select_device

device = select_device("cpu", cpu_devices=2)
rng = np.random.default_rng(0)
inputs, target = rng.normal(size=(16, 5)).astype("float32"), rng.normal(size=(16, 2)).astype("float32")
inputs[8:] *= 3  # the two halves have gradients of different length

def trained(replicas, scope, *, clip_norm):
    with scope:
        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])
        model.set_weights([np.ones((5, 2)), np.zeros(2)])
        factors = {model.weights[1].path: Factor(0.5)}
        optimizer = build_optimizer("sgd", schedule=0.1, clip_norm=clip_norm, factors=factors, replicas=replicas)
        model.compile(optimizer=optimizer, loss="mse", jit_compile=False)
    model.fit(inputs, target, batch_size=16, epochs=3, shuffle=False, verbose=0)
    return np.concatenate([array.ravel() for array in model.get_weights()])

whole, free = (trained(1, contextlib.nullcontext(), clip_norm=norm) for norm in (0.5, 0.0))
assert np.abs(whole - free).max() > 0.1  # it clips
shared = trained(2, device.scope(), clip_norm=0.5)
print("largest difference:", np.abs(whole - shared).max())
"""


def test_two_devices_clip_the_gradient_that_one_would_clip():
    answer = commands.run_program(SAME_STEPS, folder=ROOT)
    assert float(answer.stdout.strip().splitlines()[-1].removeprefix("largest difference:")) < 1e-6
