"""`dgl-rsis report`: what people changed of the model's proposals; no quality on data sets."""
