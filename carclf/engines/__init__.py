"""What computes a network on a CPU: Keras, or a runtime that is faster at nothing but forward passes."""
