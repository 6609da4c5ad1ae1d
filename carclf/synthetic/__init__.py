"""The built-in data set: procedurally drawn cars in the competition's layout (NumPy and Pillow only)."""
