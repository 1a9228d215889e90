"""Custom resources: what a CustomResourceDefinition means for requests to the kinds that it adds."""

import mooring.apiserver.kinds  # noqa: F401  (first: a definition is a kind itself, and its rules are built from those of kinds)
