"""`dgl-rsis models try`: installed models beside each other, on this machine and a few tiles."""
