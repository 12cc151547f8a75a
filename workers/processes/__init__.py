"""What runs as a process of its own: its loop, its children, its limits; answering is `engine`."""
