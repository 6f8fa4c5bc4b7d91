"""The lab: boots an image in QEMU and checks its probes."""
