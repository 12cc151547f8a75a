"""HTTP and Label Studio, and the command line; what finds masks is in `dgl_rsis`."""
