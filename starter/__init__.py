"""Small CLIP weights that come with the project: the scenes they learn from, and the training."""
