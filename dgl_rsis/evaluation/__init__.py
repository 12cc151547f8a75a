"""Measuring on labelled data; nothing here is needed to segment."""
