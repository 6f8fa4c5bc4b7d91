"""What packages' files offer and need, read once from their bytes."""
