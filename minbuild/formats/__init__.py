"""Foreign file formats: packages, programs, archives, disks and file systems, without policy."""
