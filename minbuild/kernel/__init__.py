"""A kernel that is compiled for a host: its source, the root it is built in, and what comes out."""
