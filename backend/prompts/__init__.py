"""What an annotator asks for in an open task, read from the call; workers answer it."""
