"""What a report is about: a build, an image, a tree, an archive, read into a footprint."""
