"""Redis and RQ as both ends see them; nothing here loads a model."""
