"""Root file system of the host, before it is packed."""
