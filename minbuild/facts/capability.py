"""What the extended attribute security.capability of a file says."""

import struct


def capability(data: bytes) -> str:
    """File capabilities as a number, of all three revisions.

    Source: capabilities(7); Linux, include/uapi/linux/capability.h, struct vfs_cap_data.
    """
    if len(data) not in (12, 20, 24):
        return f"unknown {data[:24].hex()}"
    low, inherits = struct.unpack_from("<4xII", data)
    if len(data) > 12:
        above, inherits_above = struct.unpack_from("<12xII", data)
        low, inherits = low | above << 32, inherits | inherits_above << 32
    return f"permitted {low:#x}" + (f", inheritable {inherits:#x}" if inherits else "")
