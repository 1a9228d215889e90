"""The kubelet's HTTPS API on each node: container logs and exec, over WebSocket and SPDY."""
