"""Debian archives: mirrors, signatures, package indices, downloads and the lock file."""
