"""How evidence names a place in a document."""

from minbuild.manifest.types import Where


def place(where: Where) -> str:
    """A place as evidence shows it: `host.yaml:9:3`, `components/network/dhcp.yaml:3:11`.

    It does not depend on where on this machine the file lies, so that footprints do not either.
    """
    parts = where.file.split("/")
    start = parts.index("components") if "components" in parts else len(parts) - 1
    return f"{'/'.join(parts[start:])}:{where.line}:{where.column}"
