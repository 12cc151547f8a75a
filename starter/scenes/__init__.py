"""Generated aerial scenes with exact truth; real images are `dgl_rsis.evaluation.datasets`."""
