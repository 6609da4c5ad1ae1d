"""Hyperparameter search on Optuna."""
