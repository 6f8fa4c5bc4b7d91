"""Sizes and counts, with the reasons."""
