"""Ingress v1 and the annotations of ingress-nginx, as a RouteTable."""
