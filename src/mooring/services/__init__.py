"""What a Service means: one module per type, the cross-cutting policies, and the NodeView they meet in."""
