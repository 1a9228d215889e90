"""The RouteTable as Envoy's xDS resources."""
