"""Package URL of a package.

Source: ECMA-427 (package-url), types deb, rpm and generic.
"""

from urllib.parse import quote

from minbuild.archive.model import Package


def make_purl(package: Package) -> str:
    """A package's URL in its canonical form; the root's files of no package have one, too."""
    if package.installed_origin == ("", ""):
        return "pkg:generic/unowned"
    kind, distribution = package.installed_origin or ("deb", "debian")
    version, epoch = package.version, ""
    if kind == "rpm" and ":" in version:  # a part of deb's version, and none of rpm's
        epoch, _, version = version.partition(":")
    qualifiers = {
        "arch": package.arch,
        "distro": package.suite.partition("-")[0] or distribution,
        "epoch": epoch,
        "upstream": _format_upstream(package),
    }
    parts = (distribution, package.name, version)
    # a colon is never encoded
    vendor, name, version = (quote(part, safe=":") for part in parts)
    query = "&".join(
        f"{key}={quote(value, safe=':')}" for key, value in qualifiers.items() if value
    )
    return f"pkg:{kind}/{vendor}/{name}@{version}?{query}"


def _format_upstream(package: Package) -> str:
    """The source package where it has another name, with its version where that is another."""
    if package.source in ("", package.name):
        return ""
    return "@".join(filter(None, (package.source, package.source_version)))
