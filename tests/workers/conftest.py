from tests.workers.shelves import shelf as shelf
