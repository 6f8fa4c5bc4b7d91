"""The process that runs QEMU, the network and the servers of one boot."""
