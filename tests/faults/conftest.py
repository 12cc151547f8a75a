from tests.workers.conftest import client as client
from tests.workers.conftest import queue as queue
from tests.workers.conftest import worker as worker
