"""Resolver: the closure of what a manifest asks for, and the closed-world check."""
