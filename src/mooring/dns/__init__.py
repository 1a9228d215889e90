"""A Service as names: grammar, Zone, answers, the table of them, the chain that handles questions, transfers, wire format."""
