"""Exports a run for other programs: the files are written, checked in their own runtime, and described."""
