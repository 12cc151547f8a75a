"""Training sets from what people marked in Label Studio."""
