"""The programs of each stage can be lowered for a TPU: known operations, static shapes, no calls to the host."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from carclf import command
from carclf.train_options import TrainOptions

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "stages").glob("*.flags"))
STAGES = [
    path for path in FILES if command.parse_command_line(TrainOptions, [f"--flagfile={path}"], description="").run
]
# Operations that XLA's TPU compiler implements for any static shape. Source: the operation semantics of OpenXLA, which
# list all of them.
KNOWN = {
    "abs", "add", "and", "bitcast_convert", "broadcast_in_dim", "case", "clamp", "compare", "concatenate", "constant",
    "convert", "convolution", "divide", "dot_general", "dynamic_slice", "dynamic_update_slice", "exponential", "floor",
    "gather", "iota", "is_finite", "log", "log_plus_one", "logistic", "maximum", "minimum", "multiply", "negate", "not",
    "or", "pad", "power", "reduce", "reduce_window", "remainder", "reshape", "return", "reverse", "round_nearest_even",
    "rsqrt", "select", "select_and_scatter", "shift_left", "shift_right_arithmetic", "shift_right_logical", "sign",
    "slice", "sqrt", "subtract", "tanh", "transpose", "while", "xor", "all_reduce", "partition_id", "custom_call",
    "exponential_minus_one", "cosine", "sine",
}  # fmt: skip
PARTITIONING = {"Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape"}  # inform the partitioner, and call nothing
TYPES = {"bf16", "f32", "i1", "i8", "i32", "i64", "ui8", "ui16", "ui32", "ui64"}


def lowered(*command_lines: list[str]) -> list[dict]:
    environment = {
        "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3",
    }  # fmt: skip
    script = Path(__file__).with_name("lowering_for_tpu.py")
    answer = subprocess.run(
        [sys.executable, str(script), json.dumps(command_lines)],
        capture_output=True, text=True, cwd=ROOT, env=os.environ | environment, timeout=3000,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-4000:]
    return [json.loads(line) for line in answer.stdout.splitlines() if line.startswith("{")]


def assert_fit(program: dict) -> None:
    unknown = {name.partition(".")[2] for name in program["operations"]} - KNOWN
    assert (program["program"], unknown) == (program["program"], set())
    assert set(program["calls"]) <= PARTITIONING
    assert set(program["types"]) <= TYPES
    assert program["dynamic"] == program["effects"] == 0
    assert program["devices"] == 8


@pytest.fixture(scope="module")
def tpu_stage():
    """Returns the programs of the TPU stage, with a small network and small images."""
    return lowered([f"--flagfile={ROOT / 'stages' / 'b3_512_tpu.flags'}", "--backbone=tiny", "--image_size=64"])


def test_the_tpu_stage_lowers_for_eight_cores(tpu_stage):
    assert [program["program"] for program in tpu_stage] == [
        "train step", "evaluation step", "prediction in clean|flip|zoom(1.1)", "prediction in random(10)",
    ]  # fmt: skip
    for program in tpu_stage:
        assert_fit(program)


def test_the_tpu_stage_gathers_only_for_views_that_turn(tpu_stage):
    gathers = ["stablehlo.gather" in program["operations"] for program in tpu_stage]
    assert gathers == [False, False, False, True]


def test_its_matrix_products_take_the_passes_that_exactness_needs(tpu_stage):
    """HIGH is three bfloat16 passes on a TPU; the network's own products use the default, one pass."""
    assert ["HIGH" in program["products"] for program in tpu_stage] == [True, True, True, False]


@pytest.mark.slow
@pytest.mark.parametrize("path", STAGES, ids=lambda path: path.stem)
def test_every_stage_lowers_at_its_own_size(path):
    programs = lowered([f"--flagfile={path}", "--device=tpu"])
    assert len(programs) == 4
    for program in programs:
        assert_fit(program)
