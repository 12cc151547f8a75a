"""`dgl-rsis prelabel`: bulk runs, resumable; single requests over HTTP are `web`."""
