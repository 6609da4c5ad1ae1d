"""carclf: from the photos of an image competition to the best-scoring submission."""

__version__ = "0.1.0"
