"""Entry point: `gunicorn _wsgi:app`, or `python _wsgi.py --port 9090` to try it."""

import argparse
import logging
import os

from label_studio_ml.api import init_app
from model import DglRsis

logging.basicConfig(level=os.environ.get("LOG_LEVEL") or "INFO")

app = init_app(
    model_class=DglRsis,
    basic_auth_user=os.environ.get("BASIC_AUTH_USER") or None,
    basic_auth_pass=os.environ.get("BASIC_AUTH_PASS") or None,
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9090)
    options = parser.parse_args()
    app.run(host=options.host, port=options.port)
