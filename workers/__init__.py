"""Both ends of the queue and the processes that own devices; no label configs and no regions."""
