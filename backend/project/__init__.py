"""What a project says of itself: its label config and tasks; nothing of what was drawn in them."""
