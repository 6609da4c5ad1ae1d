#!/usr/bin/env python3
"""Converts photos to TFRecord shards once, offline: runs `carclf.make_tfrecords` from a clone that is not installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from carclf.command import run_command
from carclf.convert.options import ConvertOptions
from carclf.make_tfrecords import DESCRIPTION, main

if __name__ == "__main__":
    run_command(main, ConvertOptions, description=DESCRIPTION)
