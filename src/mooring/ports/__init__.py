"""What the loops need of the world, as Protocols in words of the domain."""
