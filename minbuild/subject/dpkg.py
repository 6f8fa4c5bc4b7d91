"""Which package a path of a Debian tree belongs to, from dpkg's own lists in it."""

import re
from pathlib import Path

from minbuild.paths import rootpath

INFO, STATUS = "var/lib/dpkg/info", "var/lib/dpkg/status"
_FIELD = re.compile(r"^(Package|Version): (.*)$", re.MULTILINE)


def owners(top: Path) -> dict[str, tuple[str, str]]:
    """RootPath → package and version; empty for a tree without dpkg's lists."""
    try:
        status = (top / STATUS).read_text("utf-8", "replace")
        lists = sorted((top / INFO).glob("*.list"))
    except OSError:
        return {}
    versions: dict[str, str] = {}
    for paragraph in status.split("\n\n"):
        fields = dict(_FIELD.findall(paragraph))
        if "Package" in fields:
            versions[fields["Package"]] = fields.get("Version", "")
    found: dict[str, tuple[str, str]] = {}
    for path in lists:
        name = path.name.removesuffix(".list").partition(":")[0]
        for line in path.read_text("utf-8", "replace").splitlines():
            found.setdefault(rootpath(line), (name, versions.get(name, "")))
    return found
