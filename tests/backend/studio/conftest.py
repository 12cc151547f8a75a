"""What the tests of this folder talk with: a Label Studio, and the queue."""

import pytest
from redis import Redis

from backend.studio.client import StudioClient
from tests.backend.studio.fake_studio import LEGACY_TOKEN, FakeStudio, lead_here
from workers.queue.client import SegmentClient


@pytest.fixture
def rest(studio: FakeStudio) -> StudioClient:
    return StudioClient(studio.url, LEGACY_TOKEN)


@pytest.fixture
def client(redis: Redis) -> SegmentClient:
    return SegmentClient(redis)


@pytest.fixture
def connected(redis: Redis, studio: FakeStudio) -> FakeStudio:
    """A Label Studio whose project 1 has a backend that leads to this queue."""
    lead_here(studio, redis)
    return studio
