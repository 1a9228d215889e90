"""A Service as names: the grammar of cluster names, the zone, answers and the wire format."""
