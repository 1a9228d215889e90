"""On which node does a Pod run? Filters say where it can, scores where it should; both are pure."""
