"""oneDNN: TensorFlow's faster kernels for CPUs, which it leaves off where a CPU lacks AVX-512."""

import os
import platform
import sys

VARIABLE = "TF_ENABLE_ONEDNN_OPTS"  # TensorFlow reads it once, when it is imported
LEFT_TO_TENSORFLOW = ""
ON = "1"


def choose_onednn(begun_with: str | None = None) -> str:
    """Sets the variable unless the user has, and returns its value: "1", "0" or "" (left to TensorFlow).

    Call it before TensorFlow is imported; afterwards it changes nothing. oneDNN rounds differently, so a resumed run
    keeps what it was begun with.

    Args:
      begun_with: the value that a resumed run was begun with; None for a fresh start.
    """
    wanted = begun_with if begun_with is not None else ON if _has_onednn() else LEFT_TO_TENSORFLOW
    if wanted != LEFT_TO_TENSORFLOW and "tensorflow" not in sys.modules:
        os.environ.setdefault(VARIABLE, wanted)
    return os.environ.get(VARIABLE, LEFT_TO_TENSORFLOW)


def _has_onednn() -> bool:
    """Returns whether TensorFlow's build for this machine has it: those for x86, except on macOS."""
    return platform.machine() in ("x86_64", "AMD64") and sys.platform != "darwin"
