"""nftables: the skeleton through libnftables, elements as raw netlink batches."""
