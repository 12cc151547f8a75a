"""Small weights that come with the project, and how they are made; `evaluate` uses its scenes."""
