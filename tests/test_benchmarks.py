"""Benchmarks run, on next to nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_what_a_gpu_is_asked_is_answered_by_a_cpu(backend, tmp_path):
    path = tmp_path / "gpu.json"
    command = [sys.executable, "benchmarks/gpu.py", "--cases=tiny_32", "--steps=2", "--repeats=2", f"--json={path}"]
    environment = os.environ | {"KERAS_BACKEND": backend}
    answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=600)
    assert answer.returncode == 0, answer.stderr
    (row,) = json.loads(path.read_text())["rows"]
    figures = row["carclf"]
    assert min(figures["train_seconds"], figures["render_seconds"], figures["predict_seconds"]) > 0
    assert figures["flops"] > 1e6
    assert "tiny_32" in answer.stdout


def test_a_case_that_there_is_not_is_one_sentence():
    command = [sys.executable, "benchmarks/gpu.py", "--cases=b9_999"]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert answer.returncode == 2
    assert answer.stderr.startswith("Error: --cases=b9_999: there is no b9_999; choose of b0_224, b3_300")
