import os
import subprocess
import sys
from pathlib import Path

import pytest
import small
import tensorflow as tf

from carclf.config import TrainOptions
from carclf.errors import UserError
from carclf.training import device, stage

ROOT = Path(__file__).parents[2]


def choose(arguments: str, **environment: str) -> str:
    """What `select_device` said, in a process of its own, since a choice is for life."""
    program = f"""
from carclf.errors import UserError
from carclf.training.device import Hosts, select_device
try:
    print(select_device({arguments}).describe())
except UserError as error:
    print("refused:", error)
"""
    env = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"} | environment
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, env=env, timeout=300
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        ("'auto'", {}, "Device: 1 CPU, Keras on tensorflow, float32, training step not compiled by XLA."),
        ("'mirrored', cpu_devices=2", {}, "Device: 2 CPUs, Keras on tensorflow, float32, training step not compiled"),
        ("'auto'", {"KERAS_BACKEND": "jax"}, "Device: 1 CPU, Keras on jax, float32, training step compiled by XLA."),
        ("'auto', cpu_devices=2", {"KERAS_BACKEND": "jax"}, "Device: 2 CPUs, Keras on jax"),
        ("'cpu', precision='mixed_bfloat16'", {}, "mixed_bfloat16"),
    ],
)
def test_the_choice_is_said_in_one_line(arguments, environment, said):
    assert said in choose(arguments, **environment)


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        ("'gpu'", {}, "refused: --device=gpu was asked for and TensorFlow sees no GPU"),
        ("'mirrored'", {}, "refused: --device=mirrored needs several devices and this machine shows 1 CPU"),
        (
            "'tpu'",
            {},
            "refused: --device=tpu was asked for and this machine has no TPU: on Colab choose Runtime > Change",
        ),
        (
            "'tpu'",
            {"TPU_NAME": "local"},
            "refused: --device=tpu was asked for and libtpu, by which JAX reaches this machine's TPU, is not "
            "installed: pip install 'carclf[tpu]'.",
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
    with pytest.raises(UserError, match=r"tensorflow is not installed.*pip install 'carclf\[cpu\]'"):
        device.select_device("auto")


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
        ({"host": 1}, "--host=1 is not possible: there are 1 hosts, from 0"),
        ({"num_hosts": 2}, "--num_hosts=2 is not possible: --coordinator says where host 0 is reached"),
        ({"num_hosts": 2, "coordinator": "a:1", "swa_epochs": 2}, "--swa_epochs=2 is not possible: it is for one host"),
    ],
)
def test_options_of_hosts_that_cannot_be(options, said):
    with pytest.raises(UserError, match=said):
        TrainOptions(**options)


@pytest.mark.parametrize(
    ("error", "raised", "said"),
    [
        (RuntimeError("RESOURCE_EXHAUSTED: 9 bytes"), UserError, "ran out of memory at batch 4 .* lower --batch_size"),
        (tf.errors.ResourceExhaustedError(None, None, "OOM"), UserError, "ran out of memory at batch 4 .* lower"),
        (RuntimeError("INTERNAL: something else"), RuntimeError, "something else"),
    ],
    ids=["JAX", "TensorFlow", "another"],
)
def test_out_of_memory_is_a_sentence_on_either_backend(error, raised, said, monkeypatch, tmp_path):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(stage, "_fit", fails)
    with pytest.raises(raised, match=said):
        small.train(tmp_path)
