"""Links, routes, namespaces and conntrack entries."""
