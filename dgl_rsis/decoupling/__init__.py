"""Sentences to nouns and modifiers, by rules; what they mean in an image is `expressions`."""
