"""`dgl-rsis doctor`: what stands between this installation and masks in Label Studio, in words."""
