"""What a pod should be doing now: phases, probes, restarts and status, as pure decisions."""
