"""CLIP models and features of texts, crops, masks and pixels; what a class is, is `classes`."""
