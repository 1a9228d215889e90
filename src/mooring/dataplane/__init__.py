"""A NodeView as packets: ruleset, compile, render, diff, trace, and the conntrack entries a change makes stale."""
