"""The handlers of the DNS chain, one file each; which of them run, and in which order, is chain_order.py."""
