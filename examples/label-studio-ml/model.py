"""The model class that label-studio-ml's server builds for each request.

It holds no weights: it asks the queue, whose workers do (`worker` in docker-compose.yml).
"""

from backend.web.ml_backend import DglRsis

__all__ = ["DglRsis"]
