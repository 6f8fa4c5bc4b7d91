"""diskimage-builder, both ways: our trees as its roots, its roots and elements as our files."""
