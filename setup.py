"""Metadata lives in setup.cfg; this shim lets old tools call setup.py."""

from setuptools import setup

setup()
