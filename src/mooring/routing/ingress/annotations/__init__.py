"""The annotations of ingress-nginx: which there are, what they mean, and how each is refused that is not done."""

from mooring.routing.ingress.annotations.registry import KNOWN, read

__all__ = ["KNOWN", "read"]
