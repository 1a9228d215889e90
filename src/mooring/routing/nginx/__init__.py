"""The RouteTable as NGINX's configuration."""
