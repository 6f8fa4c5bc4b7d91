"""What the kernel of a host is told when it starts."""

from minbuild.manifest.types import Manifest


def cmdline(manifest: Manifest) -> str:
    """The kernel's command line: the manifest's words, then the components', none twice."""
    words = [*manifest.kernel.cmdline]
    words += [word for component in manifest.components for word in component.cmdline]
    return " ".join(dict.fromkeys(words))
