"""The files of the running host."""
