"""Footprints: sizes and counts of an image, with reasons, budgets and comparisons."""
