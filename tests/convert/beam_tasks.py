"""The tasks of the workers of test_beam.py, which import this module."""

import os
import time

from carclf.errors import UserError


def prepare(offset):
    return offset


def add(offset, number):
    time.sleep(0.01 * (number % 3 == 0))  # later tasks end first
    return offset + number, os.getpid()


def refuse(_, number):
    if number == 40:
        raise UserError("40.jpg changed while it was converted: run the same command again.")
    return number


def crash(_, number):
    return 1 // number
