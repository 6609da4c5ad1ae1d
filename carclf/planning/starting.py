"""Run as a process of its own by a plan: starts TensorFlow and Keras as every command does, and prints the device."""

import os
import sys

from carclf.device import select_device
from carclf.errors import UserError


def main(device: str, precision: str) -> int:
    """Prints the line about the device, or an error's sentence, and returns the exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        print(select_device(device, precision=precision).describe())
    except UserError as error:
        print(f"Error: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
