"""Rasters with a place on the earth, window by window; images held whole are `classes`."""
