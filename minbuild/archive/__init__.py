"""Debian archives: mirror, trust, indices, downloads, lock."""
