"""Readers of labelled data sets; what is measured on them is one folder up."""
