"""On JAX, where several devices share each batch, runs are averaged as on TensorFlow, whatever the batch size."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from carclf import runs
from tests.inference.made_runs import make_run
from tests.test_soup import move_statistics

ROOT = Path(__file__).parents[2]
# What XLA compiles here runs once: optimising it takes longer.
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


@pytest.mark.slow
def test_three_devices_renew_the_statistics_of_runs_that_mix_photos(dataset, tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        move_statistics(make_run(tmp_path / name, dataset, seed=seed, augment="mixup(0.2)"), 100.0 * seed)
    environment = {
        "KERAS_BACKEND": "jax", "XLA_FLAGS": f"{QUICK} --xla_force_host_platform_device_count=3",
        "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3",
    }  # fmt: skip
    command = [
        "carclf.soup", "--run=a,b", "--output=soup", f"--runs={tmp_path}", f"--data={dataset.directory}",
        "--method=uniform", "--batch_size=13", "--device=cpu",
    ]  # fmt: skip
    answer = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, env=os.environ | environment, timeout=900
    )
    assert answer.returncode == 0, answer.stderr[-4000:]
    assert "Device: 3 CPUs, Keras on jax" in answer.stdout
    assert runs.load_run(tmp_path / "soup").metrics["val_photos"] == 8
