"""What does each part of a RouteTable make of a request?"""
