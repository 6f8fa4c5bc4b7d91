"""The manifest that a new user starts from."""

import re

from minbuild.manifest.format import ONE_NAME

_STARTER = """\
# A host for minbuild; build it with `minbuild make`, which writes to build/{name}/.
# Every key is described in the reference: docs/reference/manifest.md

minbuild: 1                    # version of this format
name: {name}
extends: [host]                # start from a manifest that ships; what stands below is added

vars:                          # {{{{ hostname }}}} in strings and templates; --set hostname=x wins
  hostname: {name}

# kernel:
#   cmdline: [quiet]           # added to the command line of the shipped host

# services:
#   use: [logging]             # more components; `minbuild components` lists them

# keep:                        # more files of packages, with all that they need
#   - {{package: pciutils, paths: [/usr/bin/lspci]}}

files:                         # files that are made here; they replace those of components
  /etc/motd: {{content: "Welcome to {{{{ hostname }}}}\\n"}}

# drop:                        # files that a need brings in, left out knowingly
#   - {{path: "/usr/lib/*/gconv/*", because: "no charset conversion on this host"}}

image:
  compression: xz              # xz is smallest, zstd is fast to make, none is neither

budget:                        # the build fails when it needs more
  files: 60
  packed: 20 MB
"""


def starter(name: str) -> str:
    """A commented manifest for a host of this name (made one that a manifest can have)."""
    clean = re.sub("[^a-z0-9+._-]+", "-", name.lower()).strip("-._+") or "host"
    assert re.fullmatch(ONE_NAME, clean)
    return _STARTER.format(name=clean)
