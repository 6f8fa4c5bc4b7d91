"""Directory for network boot: kernel, initramfs and UKI, with examples for dnsmasq and iPXE."""

import shutil
from pathlib import Path

from minbuild.image.ukify import UkiParts

KERNEL_NAME, INITRD_NAME = "vmlinuz", "initrd"
IPXE_SCRIPT = "boot.ipxe"
DNSMASQ_CONF = "dnsmasq.conf"

IPXE_ADDED_BYTES = len(f" initrd={INITRD_NAME}")
"""Bytes that the script adds to a command line."""
_SEPARATORS = ("||", "&&", ";")

DNSMASQ_TEMPLATE = """\
# dnsmasq --conf-file={settings}, with this folder as tftp-root: hands {uki} to UEFI machines,
# by TFTP or, to those that ask so, by HTTP; iPXE is given {script}.
enable-tftp
tftp-root=/srv/{folder}
dhcp-range=192.0.2.50,192.0.2.99,12h
# client architectures: RFC 4578, 2.1 and IANA's list; 7, 9: UEFI x86-64, 11: UEFI arm64
dhcp-match=set:ipxe,175
dhcp-match=set:uefi,option:client-arch,7
dhcp-match=set:uefi,option:client-arch,9
dhcp-match=set:uefi,option:client-arch,11
dhcp-vendorclass=set:http,HTTPClient
dhcp-option-force=tag:http,60,HTTPClient
dhcp-boot=tag:http,http://192.0.2.1/{uki}
dhcp-boot=tag:ipxe,{script}
dhcp-boot=tag:uefi,tag:!ipxe,{uki}
"""

IPXE_TEMPLATE = """\
#!ipxe
# UEFI starts the one file; a BIOS starts kernel and initramfs. What iPXE says behind a name is the
# whole command line, and nothing would be none: what is in the file is said again
iseq ${{platform}} efi && chain {uki} {cmdline} ||
kernel {kernel} {cmdline} initrd={initrd}
initrd {initrd}
boot
"""


def find_ipxe_problem(word: str) -> str:
    """Find out why iPXE would change a word of the kernel's command line; "" when it does not.

    Source: iPXE, core/exec.c: words are separated at blanks, whatever the quotes, and joined by
    one blank each; core/settings.c, expand_settings.
    """
    pieces = word.split(" ")
    separator = next((piece for piece in pieces if piece in _SEPARATORS), "")
    if separator:
        return f"{separator} begins another command"
    if any(piece.startswith("#") for piece in pieces):
        return "# begins a comment"
    if "${" in word:
        return "${ begins a setting of iPXE"
    return "several spaces in a row become one" if "" in pieces else ""


def write_pxe_directory(parts: UkiParts, uki: Path, name: str, output: Path) -> None:
    """Fill the directory `output` with kernel, initramfs, UKI and settings for dnsmasq and iPXE."""
    output.mkdir()
    shutil.copyfile(parts.linux, output / KERNEL_NAME)
    shutil.copyfile(parts.initrd, output / INITRD_NAME)
    shutil.copyfile(uki, output / f"{name}.efi")
    values = {
        "uki": f"{name}.efi",
        "folder": output.name,
        "kernel": KERNEL_NAME,
        "initrd": INITRD_NAME,
        "script": IPXE_SCRIPT,
        "settings": DNSMASQ_CONF,
        "cmdline": parts.cmdline,
    }
    (output / DNSMASQ_CONF).write_text(DNSMASQ_TEMPLATE.format(**values), encoding="utf-8")
    (output / IPXE_SCRIPT).write_text(IPXE_TEMPLATE.format(**values), encoding="utf-8")
