"""The cache: records and files that may be deleted at any time."""
