"""YAML documents whose every node knows its place, and the shapes that they must have."""
