"""What names, versions and architectures of packages look like.

Source: deb-version(7); Debian Policy 5.6.1, 5.6.8, 5.6.12; dpkg's lib/dpkg/parsehelp.c.
"""

import re

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]{0,255}")
"""dpkg takes more than Debian's policy allows: capitals and underscores."""
VERSION = re.compile(r"(?:[0-9]{1,9}:)?[A-Za-z0-9.+:~_-]{1,255}")
ARCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
