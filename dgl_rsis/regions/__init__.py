"""The region tree of an image, and masks cut from it, without weights; no Segment Anything."""
