"""Mooring: Kubernetes Services, complete, on any Linux machine."""

__version__ = "0.1.0"
