"""What computes a network on a CPU: Keras, or a runtime that only speeds up forward passes."""
