"""Says which pretrained backbone suits a data set: linear classifiers on frozen features, compared out of fold."""
