"""What Ingress, and later the Gateway API and the meshes, mean AS REQUESTS: the RouteTable, and its roads to proxies."""
