"""HTTP and Label Studio, and the command line; no file here computes a mask: that is `dgl_rsis`."""
