"""Label Studio as the environment of a delivery worker names it."""

import functools

from backend.studio.client import StudioClient, StudioError
from workers.settings import WorkerSettings


@functools.cache
def studio_of_environment() -> StudioClient:
    """A client; kept, with its connection and access token.

    Raises:
        StudioError: the environment does not name Label Studio.
    """
    settings = WorkerSettings()
    url, key = settings.label_studio_url, settings.label_studio_api_key
    if url is None or key is None:
        raise StudioError(
            "the delivery worker does not know Label Studio: start it with LABEL_STUDIO_URL and "
            "LABEL_STUDIO_API_KEY, as the web server",
            retry=True,
        )
    return StudioClient(url, key.get_secret_value(), verify=settings.verify)
