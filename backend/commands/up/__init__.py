"""`dgl-rsis up`: everything on one machine; what each process does is in `workers` and `web`."""
