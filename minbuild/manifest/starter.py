"""The manifest that a new user starts from."""

import re

from minbuild.errors import UsageError
from minbuild.manifest.find import shipped_manifest, ships
from minbuild.manifest.format import ONE_NAME
from minbuild.manifest.problems import suggestion

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
    return _STARTER.format(name=_clean(name))


def copied(origin: str, name: str) -> str:
    """The text of a manifest that ships, under another name.

    Raises: UsageError when none is called `origin`.
    """
    file = shipped_manifest(origin)
    if file is None:
        fix = suggestion(origin, ships())
        raise UsageError(f"no manifest that ships is called {origin}", where="--from", fix=fix)
    text = file.read_text(encoding="utf-8")
    return re.sub(r"(?m)^name: .*$", f"name: {_clean(name)}", text, count=1)


def _clean(name: str) -> str:
    """The nearest name that a manifest can have."""
    clean = re.sub("[^a-z0-9+._-]+", "-", name.lower()).strip("-._+") or "host"
    assert re.fullmatch(ONE_NAME, clean)
    return clean
