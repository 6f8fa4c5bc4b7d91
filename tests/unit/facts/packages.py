"""Packages made by a test, in a store."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from minbuild.archive.model import Package
from minbuild.cache.store import Store
from minbuild.facts.model import FileFacts, PackageFiles
from minbuild.facts.package_facts import load_facts
from minbuild.paths import RootPath
from minbuild.progress import SilentProgress
from tests.support import deb as made


def keep(store: Store, text: str) -> list[Package]:
    """Build every package of the text into the store."""
    return [keep_deb(store, deb) for deb in made.parse(text)]


def keep_deb(store: Store, deb: made.Deb) -> Package:
    """Build one package into the store; its row says what its control file says."""
    source, _, version = deb.fields.get("Source", "").partition(" ")
    return replace(
        keep_bytes(store, deb.name, made.build(deb)),
        version=deb.version,
        arch=deb.arch,
        source=source,
        source_version=version.strip("()"),
    )


def keep_bytes(store: Store, name: str, data: bytes) -> Package:
    """Put the bytes of one .deb into the store, whatever they are."""
    path = f"pool/main/{name[0]}/{name}/{name}_1.0_amd64.deb"
    return Package(name, "1.0", "amd64", "debian", path, len(data), store.add(data))


def files(directory: Path, text: str) -> PackageFiles:
    """The facts of the one package of the text, in a fresh store."""
    store = Store(directory / "store")
    (found,) = load_facts(keep(store, text), store, SilentProgress())
    return found


def facts(directory: Path, line: str) -> FileFacts | None:
    """What is known of the one file of a package."""
    path = RootPath(line.split(maxsplit=1)[0])
    return files(directory, f"Package: one\n{line}").facts(path)


def members(found: Sequence[made.Member], name: str = "bad") -> bytes:
    """A .deb with exactly these members."""
    control = made.tar([made.Member("./control", data=made.Deb(name).control.encode())])
    return made.ar(
        [
            ("debian-binary", b"2.0\n"),
            ("control.tar", control),
            ("data.tar", made.tar(found)),
        ]
    )
