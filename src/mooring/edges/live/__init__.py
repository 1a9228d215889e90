"""A packet of our own, sent to see what the kernel does with it."""
