"""Photos to shards."""
