"""nftables: tables, rules and elements as raw netlink batches."""
