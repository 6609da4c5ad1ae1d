"""The web page: from photos to classes and heat maps."""
