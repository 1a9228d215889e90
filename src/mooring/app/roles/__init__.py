"""The processes of a cluster, each composed here from its parts."""
