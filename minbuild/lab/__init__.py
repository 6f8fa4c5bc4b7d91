"""A place to boot an image and probe it."""
