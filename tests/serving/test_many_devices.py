"""A server needs no batch that several devices share, and heat maps have one that any number of devices divides."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.inference.made_runs import make_run

ROOT = Path(__file__).parents[2]
# What XLA compiles here runs once: optimising it takes longer.
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


@pytest.mark.slow
def test_on_eight_devices_of_jax_a_server_takes_one_and_three_share_the_heat_maps(dataset, tmp_path):
    run = make_run(tmp_path / "run", dataset)
    environment = {
        "KERAS_BACKEND": "jax", "XLA_FLAGS": f"{QUICK} --xla_force_host_platform_device_count=8",
        "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3",
    }  # fmt: skip
    script = Path(__file__).with_name("on_many_devices.py")
    answer = subprocess.run(
        [sys.executable, str(script), str(run.directory), dataset.directory],
        capture_output=True, text=True, env=os.environ | environment, timeout=900,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-4000:]
    said = answer.stdout
    assert "Device: 1 CPU, Keras on jax, float32" in said
    assert "The server answers on one of 8 devices: few photos come at a time." in said
    assert said.splitlines()[-1] == "[(0, 1), (3, 2)]"
