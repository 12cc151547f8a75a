"""Open-vocabulary semantic segmentation: labels in, class masks out; no sentences."""
