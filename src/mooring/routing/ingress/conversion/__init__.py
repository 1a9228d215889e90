"""What becomes of Ingresses written for ingress-nginx: under our classes, and as Gateway API objects?"""
