"""`dgl-rsis segment` and `parse`: work in this process, without queue or server."""
