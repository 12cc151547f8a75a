"""Files of weights, read without running code in them, and the architectures they fill."""
