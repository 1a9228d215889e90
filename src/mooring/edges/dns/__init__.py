"""DNS over sockets: workers that answer from the table, the agent's slow path, other servers, secondaries."""
