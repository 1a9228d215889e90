"""The Kubernetes API, sans-I/O: a request and a snapshot in, a response or a write out."""
