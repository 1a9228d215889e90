"""Pods as Linux namespaces, cgroups, mounts and processes."""
