"""The web page: photos in, classes and where the model looked out."""
