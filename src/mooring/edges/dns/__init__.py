"""DNS over UDP and TCP sockets."""
