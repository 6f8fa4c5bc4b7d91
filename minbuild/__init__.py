"""The smallest Linux host that boots and runs virtual machines, every file of it explained."""

__version__ = "0.2.0"
