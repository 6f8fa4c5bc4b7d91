"""From YAML to a checked Manifest."""
