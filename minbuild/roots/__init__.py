"""Files that come from a root that somebody installed, rather than from packages."""
