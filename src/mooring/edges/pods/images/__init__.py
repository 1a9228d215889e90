"""The images of a cluster without registries: names that stand for commands over the host's own file system."""
