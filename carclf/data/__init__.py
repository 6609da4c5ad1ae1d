"""From shards to batches: records, the manifest, and the input pipeline (TensorFlow on the host, no Keras)."""
