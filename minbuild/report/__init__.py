"""Reports: footprints, diffs and checks in every format."""
