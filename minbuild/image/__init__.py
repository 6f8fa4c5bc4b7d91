"""Bootable files."""
