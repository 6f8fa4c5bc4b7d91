"""From roots to the closure of needs, and the proof that nothing is missing."""
