"""Suite-wide rules: quiet frameworks, no unlisted skip, and a lane in which TensorFlow cannot be imported."""

import importlib.abc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # the suite proves the CPU; GPUs have benchmarks

ALLOWED_SKIPS = Path(__file__).with_name("allowed_skips.txt")
HOST_ONLY = ("tests/convert", "tests/data", "tests/training", "tests/inference", "tests/report")


class _NoTensorFlow(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname.split(".")[0] in ("tensorflow", "tensorflow_cpu"):
            raise ModuleNotFoundError(f"No module named {fullname!r} (made unimportable by this lane)", name=fullname)
        return


if os.environ.get("CARCLF_TEST_WITHOUT_TENSORFLOW"):
    sys.meta_path.insert(0, _NoTensorFlow())

_skipped: list[tuple[str, str]] = []


def allowed_skips() -> list[str]:
    lines = ALLOWED_SKIPS.read_text(encoding="utf-8").splitlines()
    return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skipped.append((report.nodeid, reason))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    unlisted = [(test, reason) for test, reason in _skipped if not test.startswith(tuple(allowed_skips()))]
    for test, reason in unlisted:
        print(f"\nUnlisted skip (tests/allowed_skips.txt): {test}: {reason}")
    if unlisted and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
