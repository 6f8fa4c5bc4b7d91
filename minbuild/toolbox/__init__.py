"""The build machine's tools, taken from the archive."""
