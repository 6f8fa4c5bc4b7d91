"""Tools for those who work on minbuild."""
