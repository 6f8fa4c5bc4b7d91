"""diskimage-builder itself, unpatched, with our elements and roots."""
