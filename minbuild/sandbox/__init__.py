"""Programs that read what strangers wrote, kept away from everything else on this machine."""
