"""The process that holds one pod: its namespaces, the parent of its containers, their logs and exit codes.

This folder is run as a script, `python -I -S .../shim POD_DIRECTORY`, and imports only the standard library and itself, so
that it starts in some 25 ms and stays small. It outlives the node agent: an agent that comes back reads the pod's directory and
connects to `shim.sock` there.
"""
