"""Small weights that come with the project, and how they are made; the product reads the files."""
