"""The loops: informer, queue, reconciler."""
