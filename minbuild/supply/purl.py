"""Package URLs, by which others know what we call a package.

Source: ECMA-427 (package-url), types deb, rpm and generic.
"""

from minbuild.archive.types import Package


def purl(package: Package) -> str:
    """A package's URL in its canonical form; the root's files of no package have one, too."""
    from urllib.parse import quote

    if package.installed == ("", ""):
        return "pkg:generic/unowned"
    kind, distribution = package.installed or ("deb", "debian")
    version, epoch = package.version, ""
    if kind == "rpm" and ":" in version:  # a part of deb's version, and none of rpm's
        epoch, _, version = version.partition(":")
    qualifiers = {
        "arch": package.arch,
        "distro": package.suite.partition("-")[0] or distribution,
        "epoch": epoch,
        "upstream": _upstream(package),
    }
    parts = (distribution, package.name, version)
    # the colon stays as it is wherever it stands
    vendor, name, version = (quote(part, safe=":") for part in parts)
    rest = "&".join(f"{key}={quote(value, safe=':')}" for key, value in qualifiers.items() if value)
    return f"pkg:{kind}/{vendor}/{name}@{version}?{rest}"


def _upstream(package: Package) -> str:
    """The source package where it has another name, with its version where that is another."""
    if package.source in ("", package.name):
        return ""
    return "@".join(filter(None, (package.source, package.source_version)))
