"""The tests. A package, since some distributions install a `tests` of their own, which would win."""
