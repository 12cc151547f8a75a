"""Both ends of the queue, and the process that owns the device."""
