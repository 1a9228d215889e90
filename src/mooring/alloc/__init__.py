"""Which address, which port: pure choice from what is in use."""
