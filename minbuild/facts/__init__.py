"""Facts of package files: what each provides and needs, read once from its bytes."""
