"""Deployment files against the schemas and the tools of those who read them."""
