"""What is true now: revisions, transactions, conflicts, watch history."""
