"""Averages the weights of finished runs: soups and WiSE-FT."""
