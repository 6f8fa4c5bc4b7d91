"""Sandbox for programs that read untrusted files: namespaces, Landlock, seccomp, limits."""
