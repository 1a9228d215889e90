"""What would manifests do to a cluster? Its copy in memory, the assumptions about its nodes, and what differs in the end."""
