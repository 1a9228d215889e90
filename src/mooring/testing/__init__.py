"""Builders, the scenario reader and a whole cluster in one process: public test tools."""
