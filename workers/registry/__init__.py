"""Which models there are, and how their files get here; reading weights is `dgl_rsis.weights`."""
