"""Questions about a closure: why a path is in it, what its removal would break, what it weighs."""
