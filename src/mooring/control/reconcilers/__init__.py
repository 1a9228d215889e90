"""One file per reconciler."""
