"""What will not start in a tree though nothing is missing from it: the host itself, or a daemon."""

import re
from collections.abc import Iterator

from minbuild.build.cmdline import cmdline
from minbuild.facts.types import Kind
from minbuild.manifest.cmdline import split
from minbuild.manifest.types import ImageFormat, Manifest
from minbuild.paths import rootpath
from minbuild.store import Store
from minbuild.tree.types import Tree

FIRST = "/init"
LARGEST = 64 << 10
"""Bytes of a configuration file that is looked through."""
_BOOTS = frozenset(ImageFormat) - {ImageFormat.TAR, ImageFormat.CPIO}
_ACCOUNT = re.compile(
    r"^\s*(user|group)\s*(?:=\s*|\s)\s*\"?([a-z_][a-z0-9_-]*)\"?(?:\s+([a-z_][a-z0-9_-]*))?\s*;?\s*$",
    re.IGNORECASE,
)
"""`user www-data;`, `user nobody nogroup;`, `User nobody`, `group = dip`."""


def unstarted(tree: Tree, manifest: Manifest) -> Iterator[str]:
    """Say why no kernel starts anything in a tree that is packed to be booted.

    The kernel runs `rdinit=`, else /init; without one it takes the initramfs for none and mounts
    `root=`. Source: Linux, init/main.c, kernel_init_freeable.
    """
    if not _BOOTS & set(manifest.image.formats):
        return
    words = split(cmdline(manifest))
    named = [word.partition("=")[2] for word in words if word.startswith("rdinit=")]
    first = named[-1] if named else FIRST
    there = {node.path for node in tree.nodes}
    if not first.startswith("/") or rootpath(first) in there:
        return
    if not any(word.startswith("root=") for word in words):
        yield (
            f"nothing starts this host: the kernel runs {first}, which is not in the image, and no "
            "root= names another root; take boot: {use: [init]}, extend host, or make /init in files"
        )


def unknown_accounts(tree: Tree, store: Store) -> Iterator[str]:
    """Say of configuration files in /etc which users and groups they name that the host has not.

    Source: nginx.conf(5) and dnsmasq.conf, sshd_config and their like: a line `user NAME`.
    """
    known = {
        "user": _names(tree, store, "/etc/passwd"),
        "group": _names(tree, store, "/etc/group"),
    }
    for node in tree.nodes:
        if not (node.path.startswith("/etc/") and node.kind is Kind.FILE and node.size <= LARGEST):
            continue
        text = store.need(node.sha256).decode("utf-8", "replace")
        for number, line in enumerate(text.splitlines(), 1):
            for kind, name in _accounts(line):
                if name not in known[kind]:
                    book = "/etc/passwd" if kind == "user" else "/etc/group"
                    yield (
                        f"{node.path}:{number} names the {kind} {name}, and {book} of the image has "
                        "no such line: a daemon that asks for it does not start; add it to files, or "
                        "name another"
                    )


def _accounts(line: str) -> Iterator[tuple[str, str]]:
    found = _ACCOUNT.match(line)
    if found is not None:
        yield found[1].lower(), found[2]
        if found[3] and found[1].lower() == "user":
            yield "group", found[3]


def _names(tree: Tree, store: Store, path: str) -> frozenset[str]:
    node = next((one for one in tree.nodes if one.path == path and one.sha256), None)
    text = "" if node is None else store.need(node.sha256).decode("utf-8", "replace")
    return frozenset(line.partition(":")[0] for line in text.splitlines())
