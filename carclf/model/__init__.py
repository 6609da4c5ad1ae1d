"""From batches to logits: Render, backbones, classifier, schedules (Keras on any backend, no TensorFlow)."""
