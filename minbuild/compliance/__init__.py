"""Compliance of an image: licences, sources, SBOM, open security issues."""
