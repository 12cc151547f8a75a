"""Referring expression segmentation: a sentence and an image in, ranked masks out."""
