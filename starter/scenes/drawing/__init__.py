"""Pixels and exact masks of what is planned."""
