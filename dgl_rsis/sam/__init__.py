"""Segment Anything: loading, prompts, proposals; nothing of classes."""
