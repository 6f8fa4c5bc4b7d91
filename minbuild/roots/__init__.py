"""Roots that another program made: directories, tars, disks, container images."""
