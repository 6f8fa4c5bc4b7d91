"""Hosts in registries and OCI layouts: parts, signed recipes, and what refers to them."""
