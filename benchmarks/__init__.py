"""How fast minbuild is, beside the tools that do the same job: `make bench`."""
