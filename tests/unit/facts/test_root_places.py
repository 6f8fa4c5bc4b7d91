"""A root that is told by merged paths leads where the root itself leads, by every text."""

import random
from pathlib import Path

import pytest

from minbuild.facts.model import FileEntry, PackageFiles
from minbuild.formats.region import Region
from minbuild.formats.root_entry import FileType
from minbuild.formats.tar_members import read_tar_members
from minbuild.resolve.package_view import PackageView
from minbuild.roots.root_packages import RootPackages, make_lazy_files
from minbuild.roots.tarball import UnpackedRoot
from minbuild.roots.unpacked_tree import UnpackedInode, UnpackedTree
from tests.support.tars import Row, tar

TOPS = ("bin", "lib", "lib64", "sbin")
TEXTS = (
    "a",
    "../etc/x",
    "../lib/a",
    "/bin/a",
    "/usr/lib/a",
    "../usr/bin/b",
    "../../lib/sub/a",
    "sub",
    "../sub/a",
    "../../../etc/x",
)
FORMS = ("merged", "reversed", "only the top", "both", "mixed")


def made_up(source: random.Random, form: str) -> bytes:
    """A root whose /bin and /usr/bin stand to each other in some way, with links all over it."""
    rows = [Row(b"etc/x", body=b"x"), Row(b"usr/share/y", body=b"y")]
    for top in TOPS:
        how = source.choice(FORMS[:4]) if form == "mixed" else form
        places = [f"usr/{top}"] if how == "merged" else [top]
        places += [f"usr/{top}"] if how == "both" else []
        rows += [Row(top.encode(), "2", target=f"usr/{top}".encode())] if how == "merged" else []
        if how == "reversed":
            rows.append(
                Row(
                    f"usr/{top}".encode(),
                    "2",
                    target=source.choice((f"../{top}", f"/{top}")).encode(),
                )
            )
        for place in places:
            rows += [
                Row(f"{place}/".encode(), "5"),
                Row(f"{place}/sub/a".encode(), body=place.encode()),
            ]
            for name in ("a", "b", "sub/c", "sub/d"):
                if source.random() < 0.5:
                    rows.append(Row(f"{place}/{name}".encode(), body=f"{place}/{name}".encode()))
                else:
                    rows.append(
                        Row(f"{place}/{name}".encode(), "2", target=source.choice(TEXTS).encode())
                    )
    return tar(*sorted(rows, key=lambda row: row.kind == "2"))


@pytest.mark.parametrize("form", FORMS)
def test_every_text_leads_where_it_leads_in_the_root(tmp_path: Path, form: str) -> None:
    source = random.Random(form)
    asked = 0
    for number in range(40):
        (tmp_path / "a.tar").write_bytes(made_up(source, form))
        archive = Region.from_path(tmp_path / "a.tar")
        system = UnpackedTree(chrooted=True)
        for member in read_tar_members(archive):
            system.add(member, archive)
        offer = RootPackages(UnpackedRoot("root", system), use_database=False, usrmerge=False)
        catalog, inodes = told(offer, system)
        for _ in range(60):
            text = "/" + "/".join(
                source.choice(("bin", "lib", "usr", "sub", "etc", "a", "b", "c", "x", "lib64"))
                for _ in range(source.randrange(1, 5))
            )
            wanted = system.find(text)
            reached = catalog.look_up(text)
            real = catalog.resolve_links(reached.path) if reached is not None else None
            found = inodes.get(real) if real is not None else None
            if wanted is None or wanted.kind is FileType.FILE:
                assert found is wanted, (number, text)
                asked += found is not None
    assert asked > 30


def told(offer: RootPackages, system: UnpackedTree) -> tuple[PackageView, dict[str, UnpackedInode]]:
    """The root as check-tree sees it, and what stands at each of its paths."""
    links = {
        path: FileEntry(path, FileType.LINK, 0o777, target=text)
        for path, text in offer.layout.links.items()
    }
    files = make_lazy_files(offer)
    entries = {**files.entries, **links}
    raws = {found.path: found.native_path for found in offer.by_image_path.values()}
    inodes = {str(path): system.find(raw, follow=False) for path, raw in raws.items()}
    catalog = PackageView([PackageFiles("", entries, lambda _: None, lambda _: None)], merged=False)
    return catalog, {path: inode for path, inode in inodes.items() if inode is not None}
