"""From runs and photos to probabilities, metrics and a submission."""
