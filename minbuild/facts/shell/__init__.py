"""Shell scripts: the commands that they run, read by shfmt."""
