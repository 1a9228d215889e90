"""CEL expressions: declared types, compilation, cost, evaluation. Everything about the library that does it is behind this."""

import mooring.apiserver.kinds  # noqa: F401  (first: some kinds have expressions, and expressions know the formats of kinds)
