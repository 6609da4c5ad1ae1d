"""A run as files that other programs take: written, run again by their own runtime, and described."""
