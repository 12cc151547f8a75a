"""Files of weights, read without running code in them; no architectures."""
