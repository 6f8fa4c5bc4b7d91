"""Checks of a tree before it is packed: closed world, accounts, and words that its kernel and Xen read."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.errors import ManifestError, combine
from minbuild.formats.root_entry import FileType
from minbuild.formats.xen_image import find_config_problem
from minbuild.image import boot_media, grub
from minbuild.manifest.image_settings import ImageFormat
from minbuild.manifest.kernel_cmdline import MAX_LENGTH, join_cmdline, split_cmdline
from minbuild.manifest.model import Manifest
from minbuild.paths import to_root_path
from minbuild.pipeline.image_spec import build_cmdline, build_xen_cmdline, list_xen_words
from minbuild.pipeline.resolved_host import ResolvedHost, find_kernel_config
from minbuild.pipeline.session import Session, digest_source_code
from minbuild.resolve import error_messages
from minbuild.resolve.closed_world import check_closed_world
from minbuild.resolve.policy import Waivers, make_policy
from minbuild.rootfs.content_view import files_from_content
from minbuild.rootfs.model import RootfsTree

XEN_CMDLINE_SIZE = 1024
"""Bytes of Xen's own command line and of domain 0's, with the zero at the end.

Source: Xen, xen/common/kernel.c (saved_cmdline), xen/include/public/xen.h (MAX_GUEST_CMDLINE).
"""
GUEST_FILTER = "network/guest-filter"
"""The component that holds guests of QEMU to their own addresses."""
_OVERRIDE_OPTIONS = ("CMDLINE_OVERRIDE", "CMDLINE_FORCE")
"""Options of kernels that use their own line alone."""
_APPEND_OPTIONS = ("CMDLINE_BOOL", "CMDLINE_EXTEND")
"""Options of kernels that read their own line too. Source: Linux, arch/*/Kconfig."""


def check_hypervisor(manifest: Manifest, tree: RootfsTree) -> None:
    """Make sure that what a manifest asks of Xen reaches it. Raises: ManifestError."""
    problems = [*_find_hypervisor_problems(manifest, tree)]
    if problems:
        raise combine(problems)


def _find_hypervisor_problems(manifest: Manifest, tree: RootfsTree) -> Iterator[ManifestError]:
    where = f"{manifest.kernel.where}"
    if tree.hypervisor_image is None:
        if words := join_cmdline(*list_xen_words(manifest)):
            yield ManifestError(
                f"nothing reads xen-cmdline ({words.partition(' ')[0]} …): the host has no /boot/xen-*.efi",
                where=where,
                fix="take hypervisor: {use: [xen]}, or remove xen-cmdline",
            )
        return
    yield from _find_long_cmdlines(manifest, where)
    for part in manifest.components:
        if part.name == GUEST_FILTER:
            yield ManifestError(
                f"{part.name} would filter nothing: it knows the cards of QEMU's guests, and this host starts Xen",
                where=where,
                fix=f"remove {part.name}: a guest of Xen has an isolated port, and may send from any address",
            )
    unsupported = [str(one) for one in manifest.image.formats if one is ImageFormat.PXE]
    unsupported += ["dib"] if manifest.image.dib else []
    unsupported += ["boot/bios"] if manifest.image.disk.bios else []
    unsupported += ["boot/update"] if manifest.image.disk.version is not None else []
    for name in unsupported:
        yield ManifestError(
            f"{name} starts Linux by itself, and this host starts Xen",
            where=where,
            fix=f"remove {name}: UEFI starts the disk, the CD and the one file",
        )


def _find_long_cmdlines(manifest: Manifest, where: str) -> Iterator[ManifestError]:
    """Command lines that Xen would cut off, and words that its settings cannot hold."""
    for name, text in (
        ("Xen's", build_xen_cmdline(manifest)),
        ("domain 0's", build_cmdline(manifest)),
    ):
        size = len(text.encode())
        if size >= XEN_CMDLINE_SIZE:
            yield ManifestError(
                f"{name} command line has {size:,} bytes; Xen hands over {XEN_CMDLINE_SIZE - 1:,} and drops the end",
                where=where,
                fix="remove words of cmdline or xen-cmdline",
            )
        for word in split_cmdline(text):
            if problem := find_config_problem(word):
                yield ManifestError(
                    f"Xen's settings cannot hold the word {word!r}: {problem}",
                    where=where,
                    fix="write it otherwise",
                )


def check_cmdline(manifest: Manifest, options: Mapping[str, str]) -> None:
    """Make sure that the kernel, of which `options` is the configuration, reads the whole line.

    Raises: ManifestError when it does not, or a boot loader cannot hand it over.
    """
    problems = [
        *_find_ignored_cmdline(manifest, options),
        *_find_overlong_cmdline(manifest, options),
        *_find_unsupported_words(manifest),
    ]
    if problems:
        raise combine(problems)


def _find_ignored_cmdline(
    manifest: Manifest, options: Mapping[str, str]
) -> Iterator[ManifestError]:
    option = next((name for name in _OVERRIDE_OPTIONS if options.get(name) == "y"), "")
    if option and build_cmdline(manifest):
        yield ManifestError(
            f"the kernel has a command line of its own and reads no other (CONFIG_{option})",
            where=f"{manifest.kernel.where}",
            fix="take another kernel, or remove every cmdline: word",
        )


def _find_overlong_cmdline(
    manifest: Manifest, options: Mapping[str, str]
) -> Iterator[ManifestError]:
    line = build_cmdline(manifest)
    configured_size = options.get("COMMAND_LINE_SIZE", "")
    limit = (int(configured_size) if configured_size.isdecimal() else MAX_LENGTH[manifest.arch]) - 1
    added_bytes = dict(_list_added_bytes(manifest, options))
    size = len(line.encode())
    if size + sum(added_bytes.values()) <= limit:
        return
    additions = "".join(f", and {count} that {adder} adds" for adder, count in added_bytes.items())
    shares = {part.name: part.cmdline for part in manifest.components}
    shares["the manifest"] = manifest.kernel.cmdline
    sizes = {
        name: len(" ".join(parameters).encode())
        for name, parameters in shares.items()
        if parameters
    }
    largest = sorted(sizes, key=lambda name: (-sizes[name], name))[:4]
    yield ManifestError(
        f"the kernel's command line has {size:,} bytes{additions}; the kernel of {manifest.arch} reads "
        f"{limit:,} and drops the end",
        where=f"{manifest.kernel.where}",
        fix="remove words: " + ", ".join(f"{name} gives {sizes[name]:,} bytes" for name in largest),
    )


def _list_added_bytes(manifest: Manifest, options: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Who adds words to the line on its way to the kernel, and how many bytes at most."""
    kernel_cmdline = options.get("CMDLINE", "")
    if kernel_cmdline and any(options.get(name) == "y" for name in _APPEND_OPTIONS):
        yield "the kernel's CONFIG_CMDLINE", len(kernel_cmdline.encode()) + 1
    if manifest.image.disk.bios:
        yield "GRUB", grub.GRUB_ADDED_BYTES
    if ImageFormat.PXE in manifest.image.formats:
        yield "iPXE", boot_media.IPXE_ADDED_BYTES


def _find_unsupported_words(manifest: Manifest) -> Iterator[ManifestError]:
    """Words that a boot loader of the image cannot hand over as they are."""
    checks = []
    if manifest.image.disk.bios:
        checks.append(("GRUB (boot/bios)", grub.find_grub_problem))
    if ImageFormat.PXE in manifest.image.formats:
        checks.append(("iPXE (image.formats: pxe)", boot_media.find_ipxe_problem))
    for word in split_cmdline(build_cmdline(manifest)):
        for loader, fault in checks:
            reason = fault(word)
            if reason:
                yield ManifestError(
                    f"{loader} cannot hand over the word {word!r}: {reason}",
                    where=f"{manifest.kernel.where}",
                    fix="write it otherwise, or leave out that way to boot",
                )


def verify_rootfs(resolved: ResolvedHost, tree: RootfsTree, session: Session) -> None:
    """Check that a tree needs nothing outside of it and that its kernel reads its command line.

    Notes accounts that its configuration names and it lacks.
    Raises: ResolveError that lists all that dangles; ManifestError.
    """
    manifest = resolved.manifest
    verify_closed_world(resolved, tree, session)
    for text in find_unknown_accounts(tree, session.store):
        session.progress.note(text)
    check_hypervisor(manifest, tree)
    check_cmdline(manifest, find_kernel_config(resolved, tree.kernel_release) or {})


def verify_closed_world(resolved: ResolvedHost, tree: RootfsTree, session: Session) -> None:
    """Check a tree's own bytes; a tree that was proved by this very code is not checked again.

    Raises: ResolveError that lists all that dangles.
    """
    manifest = resolved.manifest
    policy = make_policy(manifest)
    parts = [
        digest_source_code(session.store),
        repr(policy.drop),
        repr(policy.allow_missing),
        repr(policy.dlopen),
        *(manifest.inputs[str(path.absolute())] for path in manifest.rules),
        *map(repr, tree.nodes),
    ]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    if session.store.get(RecordKind.VERIFIED_ROOTFS, key) is not None:
        return
    session.progress.step(f"proving that {manifest.name} needs nothing outside of it")
    waivers = Waivers(policy.drop, policy.allow_missing)
    unmet = check_closed_world(
        files_from_content(tree, session.store),
        arch=manifest.arch,
        policy=policy,
        waivers=waivers,
        closure=replace(resolved.closure, needs=tree.needs),
    )
    if unmet or waivers.unused_by_check:
        raise error_messages.make_not_closed_error(unmet, waivers.unused_by_check)
    session.store.put(RecordKind.VERIFIED_ROOTFS, {key: b""})


DEFAULT_INIT = "/init"
MAX_CONFIG_SIZE = 64 << 10
"""Bytes of a configuration file that is looked through."""
_BOOTABLE_FORMATS = frozenset(ImageFormat) - {ImageFormat.TAR, ImageFormat.CPIO}
_ACCOUNT_LINE = re.compile(
    r"^\s*(user|group)\s*(?:=\s*|\s)\s*\"?([a-z_][a-z0-9_-]*)\"?(?:\s+([a-z_][a-z0-9_-]*))?\s*;?\s*$",
    re.IGNORECASE,
)
"""`user www-data;`, `user nobody nogroup;`, `User nobody`, `group = dip`."""


def explain_missing_init(tree: RootfsTree, manifest: Manifest) -> Iterator[str]:
    """Say why no kernel starts anything in a tree that is packed to be booted.

    The kernel runs `rdinit=`, else /init; without one it takes the initramfs for none and mounts
    `root=`. Source: Linux, init/main.c, kernel_init_freeable.
    """
    if not _BOOTABLE_FORMATS & set(manifest.image.formats):
        return
    parameters = split_cmdline(build_cmdline(manifest))
    rdinit = [word.partition("=")[2] for word in parameters if word.startswith("rdinit=")]
    init = rdinit[-1] if rdinit else DEFAULT_INIT
    paths = {node.path for node in tree.nodes}
    if not init.startswith("/") or to_root_path(init) in paths:
        return
    if not any(word.startswith("root=") for word in parameters):
        yield (
            f"nothing starts this host: the kernel runs {init}, which is not in the image, and no "
            "root= names another root; take boot: {use: [init]}, extend host, or make /init in files"
        )


def find_unknown_accounts(tree: RootfsTree, store: Store) -> Iterator[str]:
    """Say of configuration files in /etc which users and groups they name that the host has not.

    Source: nginx.conf(5) and dnsmasq.conf, sshd_config and their like: a line `user NAME`.
    """
    names_by_kind = {
        "user": _read_account_names(tree, store, "/etc/passwd"),
        "group": _read_account_names(tree, store, "/etc/group"),
    }
    for node in tree.nodes:
        if not (
            node.path.startswith("/etc/")
            and node.kind is FileType.FILE
            and node.size <= MAX_CONFIG_SIZE
        ):
            continue
        text = store.require(node.sha256).decode("utf-8", "replace")
        for number, line in enumerate(text.splitlines(), 1):
            for kind, name in _parse_account_line(line):
                if name not in names_by_kind[kind]:
                    table = "/etc/passwd" if kind == "user" else "/etc/group"
                    yield (
                        f"{node.path}:{number} names the {kind} {name}, and {table} of the image has "
                        "no such line: a daemon that asks for it does not start; add it to files, or "
                        "name another"
                    )


def _parse_account_line(line: str) -> Iterator[tuple[str, str]]:
    match = _ACCOUNT_LINE.match(line)
    if match is not None:
        yield match[1].lower(), match[2]
        if match[3] and match[1].lower() == "user":
            yield "group", match[3]


def _read_account_names(tree: RootfsTree, store: Store, path: str) -> frozenset[str]:
    node = next((one for one in tree.nodes if one.path == path and one.sha256), None)
    text = "" if node is None else store.require(node.sha256).decode("utf-8", "replace")
    return frozenset(line.partition(":")[0] for line in text.splitlines())
