"""Sound inputs that fuzzing begins with, and bytes that parsers tend to stumble over."""

import bz2
import gzip
import lzma
import random
import struct
from functools import cache
from pathlib import Path

from minbuild.archive import lockfile
from minbuild.archive.model import Lock, LockedSuite, Package
from minbuild.data import data_directory
from minbuild.footprint import document
from minbuild.footprint.open_ports import ObservedPort, render_ports
from minbuild.formats.root_entry import FileType
from minbuild.formats.xen_image import join_xen_image, render_config, strip_xen
from minbuild.image import tar_cpio
from minbuild.paths import RootPath
from minbuild.report.history import make_point, point_to_json
from minbuild.rootfs.model import RootfsNode
from tests.oracle import cpios
from tests.support import elf, images, tars
from tests.support.deb import build, compress, parse
from tests.support.disks import ESP, Part, gpt
from tests.support.fat import fat12
from tests.support.footprints import tiny
from tests.support.uki import uki, with_layout
from tests.support.xen import xen_efi

FOUND = Path(__file__).parent / "corpus"
"""TARGET/NAME: inputs that once came out badly, kept for ever."""

DEBS = """
Package: hello
Version: 1.0
Depends: libhello1 (>= 1.0) | x, libc6
Compression: %s
/usr/bin/hello 0755 elf interp=/lib64/ld-linux-x86-64.so.2 needed=libhello.so.1,libc.so.6
/usr/bin/hi -> hello
/usr/bin/hey = /usr/bin/hello
/usr/bin/say 0755 file "#!/bin/sh\\necho hello\\n"
/var/lib/hello/ 0700
/usr/lib/modules/6.1/kernel/a.ko module name=a depends=b,c firmware=f.bin
"""

TOKENS = (
    b"\0", b"\xff" * 4, b"\xff" * 8, b"\0" * 8, b"\x7fELF", b"../", b"/", b"\n", b"%s", b"-1",
    b"99999999999999999999", b"\x80\0\0\0", b"\xfe\xff\xff\xff", b"{", b"[", b'"', b"[" * 400,
    b"&a [*a]", b"{{ x }}", b"{% for i in range(9**9) %}x{% endfor %}", b"\x1b[2J", b"\xc3\x28",
    b"<<: *a", b"!!python/object", b"070701", b"TRAILER!!!", b"`\n", b"\xfd7zXZ\0", b"(\xb5/\xfd",
    b"\x1f\x8b\x08", b"e" * 200, b"null", b"true", b"1e999", b"\xed\xa0\x80",
)  # fmt: skip


@cache
def seeds(target: str) -> tuple[bytes, ...]:
    """The sound inputs of a target, then those that were found."""
    found = sorted((FOUND / target).glob("*")) if (FOUND / target).is_dir() else []
    return (*_MAKERS[target](), *(path.read_bytes() for path in found))


def _deb() -> tuple[bytes, ...]:
    return tuple(build(parse(DEBS % how)[0]) for how in ("none", "xz", "zst", "gz"))


def _elf() -> tuple[bytes, ...]:
    wishes = (
        elf.Elf(soname="libx.so.1", exports=("a", "b@X_1"), needed=("libc.so.6",)),
        elf.Elf(
            interp=elf.LOADER,
            needed=("libx.so.1", "libc.so.6"),
            imports=("a", "b@X_1", "?c"),
            versions={"libx.so.1": ("X_1",), "libc.so.6": ("GLIBC_2.2.5", "?GLIBC_2.34")},
            runpath="$ORIGIN/../lib",
            dlopen=({"soname": ["liby.so.2"], "priority": "required"},),
        ),
        elf.Elf(bits=32, big=True, machine=22, soname="liba.so"),
    )
    return tuple(elf.elf(wish) for wish in wishes)


def _module() -> tuple[bytes, ...]:
    (package,) = parse(
        "Package: m\n/usr/lib/modules/6.1/kernel/a.ko module name=a depends=b,c firmware=f.bin "
        "alias=pci:v1 softdep=pre:d imports=x exports=y signed=yes\n"
    )
    plain = next(one.data for one in package.members if one.path.endswith(".ko"))
    return (plain, compress(plain, "xz"), compress(plain, "zst"))


def _cpio() -> tuple[bytes, ...]:
    nodes = [
        RootfsNode(RootPath("/usr"), FileType.DIRECTORY, 0o755, 0, 0, 0, "", "", "p", "c"),
        RootfsNode(RootPath("/usr/a"), FileType.FILE, 0o644, 0, 0, 5, "a" * 64, "", "p", "c"),
        RootfsNode(RootPath("/usr/b"), FileType.LINK, 0o777, 0, 0, 0, "", "a", "p", "c"),
    ]
    plain = tar_cpio.encode_cpio(nodes, lambda _: b"hello")
    packed = [compress(plain, how) for how in ("xz", "zst", "gz")]
    packed += [bz2.compress(plain), lzma.compress(plain, lzma.FORMAT_ALONE)]
    joined = b"".join(part + bytes(-len(part) % 4) for part in (plain, *packed))
    odd = [parts for _, parts in cpios.known_cases(b"v")]
    return (plain, *packed, joined, *(b"".join(parts) for parts in odd))


def _image() -> tuple[bytes, ...]:
    initrd = _cpio()[0]
    words = [(".linux", b"K" * 600), (".cmdline", b"quiet"), (".uname", b"6.1")]
    two = [*words, (".profile", b"ID=a"), (".cmdline", b"debug"), (".ucode", initrd)]
    plain = uki([*words, (".initrd", initrd)])
    laid = with_layout(plain, addresses=(0x1000, 0x2000, 0x3000, 0x4000), signature=b"s" * 8)
    config = render_config("console=com1", "quiet")
    xen = join_xen_image(strip_xen(xen_efi(), "xen"), config, b"K" * 600, initrd, "xen")
    return (plain, laid, uki([(".initrd", initrd), (".initrd", b""), *two]), xen)


def _disk() -> tuple[bytes, ...]:
    """Small ones, so that a change meets what is read: FAT, alone and in a table."""
    part = fat12({"EFI/BOOT/BOOTX64.EFI": _image()[0], "EFI/NOTE.TXT": b"note"})
    return (part, gpt([Part(part, ESP)]))


def _sums() -> tuple[bytes, ...]:
    return (f"{'0' * 64}  a.efi\n{'1' * 64}  a.pxe/vmlinuz\n".encode(),)


def _lock() -> tuple[bytes, ...]:
    rows = [
        Package(f"p{n}", "1.0-1", "amd64", "debian", f"pool/p{n}.deb", 10, "a" * 64, "trixie")
        for n in range(3)
    ]
    suites = (LockedSuite("trixie", "debian", 1_789_199_741, "b" * 64),)
    return (lockfile.render_lock(Lock("amd64", suites, tuple(rows), tuple(rows[:1]))).encode(),)


def _manifest() -> tuple[bytes, ...]:
    top = Path(__file__).parents[2] / "manifests"
    small = (
        b"minbuild: 1\nname: x\nvars: {a: b, n: 3, l: [x, y]}\nkernel: {package: linux}\n"
        b"archives: [{name: own, directory: .}]\npins: {hello: {version: '1.*'}}\n"
        b"keep:\n  - &k {package: hello, paths: ['/usr/bin/{{ a }}']}\n"
        b'files: {/etc/motd: {content: "{% for i in l %}{{ i }}{% endfor %}{{ a * n }}"}}\n'
    )
    return (small, (top / "host.yaml").read_bytes())


def _footprint() -> tuple[bytes, ...]:
    return (document.render_footprint(tiny()).encode(),)


def _config() -> tuple[bytes, ...]:
    return (
        b"passwd: files systemd\nhosts: files [!UNAVAIL=return] mdns4_minimal [NOTFOUND=return] dns\n",
        b"@include common-auth\nauth [success=1 default=ignore] \\\n pam_unix.so\n-session optional a.so\n",
    )


def _declared() -> tuple[bytes, ...]:
    return (
        b'u app 300:disk "an app" /var/lib/app\ng disk 6\nm app tape\nr - 500-900\n',
        b"d /run/app 0750 app app -\nD! /var/lib/app\nx /tmp/a\n",
    )


def _rules() -> tuple[bytes, ...]:
    place = data_directory("manifests") / "components" / "rules"
    return tuple(path.read_bytes() for path in sorted(place.glob("*.yaml")))


def _volumes(*names: str) -> tuple[bytes, ...]:
    places = Path(__file__).parent / "filesystems"
    return tuple(lzma.decompress((places / f"{name}.xz").read_bytes()) for name in names)


def _ext4() -> tuple[bytes, ...]:
    """Small ones by mke2fs: block maps, extents, data in inodes, directories with an index.

    The last was found: its top directory says to have a GiB.
    """
    return _volumes("ext2", "ext4", "inline", "ext4-directory")


def _erofs() -> tuple[bytes, ...]:
    return _volumes("erofs", "erofs-chunks")


def _xfs() -> tuple[bytes, ...]:
    """By mkfs.xfs, in the short form of `sparse`: versions 5 and 4, logs cut to 64 blocks."""
    return _volumes("xfs", "xfs-4")


def _btrfs() -> tuple[bytes, ...]:
    """By mkfs.btrfs, in the short form: plain, zstd, zlib with a subvolume."""
    return _volumes("btrfs", "btrfs-zstd", "btrfs-zlib")


def _container() -> tuple[bytes, ...]:
    """Documents of a container image; @C, @L, @M are digests (see `targets.container`)."""
    platform = b'"os": "linux", "architecture": "arm64", "variant": "v8"'
    config = b'{%s, "rootfs": {"type": "layers", "diff_ids": ["sha256:@L"]}}' % platform
    oci = b"application/vnd.oci.image"
    manifest = (
        b'{"schemaVersion": 2, "config": {"mediaType": "%s.config.v1+json", "digest": "sha256:@C"},'
        b' "layers": [{"mediaType": "%s.layer.v1.tar", "digest": "sha256:@L"}]}' % (oci, oci)
    )
    index = (
        b'{"manifests": [{"digest": "sha256:@M", "platform": {%s},'
        b' "annotations": {"org.opencontainers.image.ref.name": "a"}}]}' % platform
    )
    saved = b'[{"Config": "@C.json", "RepoTags": ["t:a"], "Layers": ["@L/layer.tar"]}]'
    return tuple(
        b"\x1e".join(parts)
        for parts in ((config, manifest, index, b""), (config, b"", b"", saved),
                      (config, manifest, index, saved), (config, b"", b"", manifest))
    )  # fmt: skip


def _packages() -> tuple[bytes, ...]:
    """dpkg's status, list of files and diversions; the header of an rpm."""
    status = (
        b"Package: a\nStatus: install ok installed\nArchitecture: amd64\nMulti-Arch: same\n"
        b"Source: s (1.0)\nVersion: 1:1.0-1\nDepends: libc6 (>= 2.3) | x:any, y [amd64]\n"
        b"Provides: z (= 1)\nDescription: short\n long\n\nPackage: b\nStatus: install ok installed\n"
    )
    dpkg = b"\x1e".join((status, b"/.\n/usr\n/usr/bin/a\n", b"/usr/bin/a\n/usr/bin/a.real\nb\n"))
    rows = [
        (1000, 6, b"hello\0"), (1001, 6, b"1.0\0"), (1002, 6, b"2\0"), (1022, 6, b"x86_64\0"),
        (1003, 4, struct.pack(">I", 1)), (1116, 4, struct.pack(">II", 0, 1)),
        (1117, 8, b"a\0b\0"), (1118, 8, b"/usr/\0/etc/\0"), (1047, 8, b"p\0q\0"),
    ]  # fmt: skip
    index, store = b"", b""
    for tag, kind, value in rows:
        store += bytes(-len(store) % 4) if kind == 4 else b""
        count = len(value) // 4 if kind == 4 else value.count(b"\0")
        index += struct.pack(">4I", tag, kind, len(store), count)
        store += value
    return (dpkg, b"\x8e" + struct.pack(">II", len(rows), len(store)) + index + store)


def _budget() -> tuple[bytes, ...]:
    text = (
        b"minbuild-budget: 1\ntotals: {files: 48, packed: 17.6 MB}\n"
        b'components: {"*": {bytes: 8 MB}}\nsurface: {setuid: 0, listener: 0, modules: [a, "b*"]}\n'
        b'waivers: [{rule: totals.files, owner: x, because: "y", expires: 2027-03-01}]\n'
    )
    return (text,)


def _ports() -> tuple[bytes, ...]:
    return (render_ports((ObservedPort("22/tcp", "sshd", True),), "x").encode(),)


def _kind() -> tuple[bytes, ...]:
    """First bytes of everything that a command may be given."""
    qcow2 = b"QFI\xfb" + struct.pack(">IQ", 3, 0) + bytes(200)
    starts = (_cpio()[0], *_cpio()[2:5], _image()[0], _disk()[1], _archive()[0], _ext4()[0])
    return (*(one[:8192] for one in starts), qcow2, *_footprint(), gzip.compress(_archive()[0]))


def _archive() -> tuple[bytes, ...]:
    """Tars of every form, the first one sound, and container images in a tar."""
    rows = [
        tars.Row(b"d/", "5"), tars.Row(b"d/a", body=b"hello"), tars.Row(b"d/b", "1", target=b"d/a"),
        tars.Row(b"l", "2", target=b"d"), tars.Row(b"n" * 120, form="gnu"), tars.Row(b"p" * 120, form="pax"),
        *(tars.Row(b"s" + how.encode(), sparse=how, extents=((512, b"x" * 512), (2048, b"y")), size=4096)
          for how in tars.SPARSE),
    ]  # fmt: skip
    layer = tars.tar(*rows[:4], tars.Row(b"d/.wh.a"))
    image = images.ContainerImage([tars.tar(*rows[:3]), layer])
    held = [
        tars.tar(*(tars.Row(name.encode(), body=data) for name, data in blobs.items()))
        for blobs in (images.oci(image), images.docker_archive(image))
    ]
    made = [tars.tar(*tars.random_members(random.Random(number))) for number in range(6)]
    return (tars.tar(*rows), *held, *made)


def _history() -> tuple[bytes, ...]:
    return (
        "".join(
            point_to_json(make_point(tiny(), label)) for label in ("v1", "v2", "ä\u2028")
        ).encode(),
    )


_MAKERS = {
    "deb": _deb,
    "elf": _elf,
    "module": _module,
    "config": _config,
    "declared": _declared,
    "rules": _rules,
    "cpio": _cpio,
    "image": _image,
    "disk": _disk,
    "ext4": _ext4,
    "erofs": _erofs,
    "xfs": _xfs,
    "btrfs": _btrfs,
    "container": _container,
    "packages": _packages,
    "budget": _budget,
    "ports": _ports,
    "kind": _kind,
    "archive": _archive,
    "sums": _sums,
    "lock": _lock,
    "manifest": _manifest,
    "footprint": _footprint,
    "history": _history,
}
TARGETS = tuple(_MAKERS)
