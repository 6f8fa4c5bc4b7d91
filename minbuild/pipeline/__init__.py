"""The life of a build: from a manifest to a measured image."""
