"""Options of a kernel: what a configuration asks for, what that needs, and why."""
