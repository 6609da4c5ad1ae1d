"""Packs carclf, what it needs, runs and weights into one folder, for a notebook without internet."""
