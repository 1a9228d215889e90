"""May this be written, and is anything to be changed first? Built-in checks, webhooks, policies, in one order (chain.py)."""
