"""HTTP and Label Studio. Nothing here imports torch or the algorithm."""
