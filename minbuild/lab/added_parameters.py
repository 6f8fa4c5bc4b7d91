"""Kernel parameters that the lab adds to an image's own: probes of files and ports, and the emulated
clock; in QEMU's `-append`, or through the machine's SMBIOS strings to systemd's stub."""

from minbuild.errors import UsageError
from minbuild.formats.uki import Uki
from minbuild.lab import kprobes
from minbuild.lab.model import BootRequest, Firmware
from minbuild.manifest.kernel_cmdline import MAX_LENGTH, append_words, split_cmdline

STUB_CMDLINE_KEY = "io.systemd.stub.kernel-cmdline-extra"
"""SMBIOS string whose value systemd's stub adds to the command line in the UKI.

Source: systemd-stub(7), smbios-type-11(7).
"""


def extend_cmdline(line: str, *additions: str) -> str:
    """Append parameters to a kernel command line, before the arguments of init.

    Raises: UsageError when the line becomes longer than the kernel reads.
    """
    extended = append_words(line, split_cmdline(" ".join(additions)))
    limit = MAX_LENGTH["amd64"] - 1
    if len(extended.encode()) > limit:
        count = len(extended.encode()) - len(line.encode())
        raise UsageError(
            f"the kernel command line is {len(line.encode()):,} bytes and the lab adds {count:,}; "
            f"the kernel reads at most {limit:,}",
            fix="shorten kernel.cmdline in the manifest, or boot with --no-ports and no trace",
        )
    return extended


def build_smbios_args(request: BootRequest, uki: Uki | None, parameters: str) -> tuple[str, ...]:
    """Build the arguments that hand kernel parameters to systemd's stub in the UKI.

    Raises: UsageError when the stub would append them to the arguments of init.
    """
    added = build_trace_cmdline(request, uki)
    if request.certificate is None:
        added = f"{added} {parameters}".strip()
    if not added:
        return ()
    if uki is not None:
        own_cmdline = uki.cmdlines[0]
        if extend_cmdline(own_cmdline, added) != f"{own_cmdline} {added}".lstrip():
            raise UsageError(
                "the image's command line has arguments for init (after --), and the lab's "
                "parameters would follow them",
                fix="boot with --direct, or with --no-ports",
            )
    return ("-smbios", f"type=11,value={STUB_CMDLINE_KEY}={added.replace(',', ',,')}")


def build_trace_cmdline(request: BootRequest, uki: Uki | None) -> str:
    """Build the kernel parameters that trace, for the kernel release that the UKI names.

    Raises: UsageError for a trace under Secure Boot.
    """
    if request.certificate is not None and request.firmware is not Firmware.DIRECT:
        if not request.trace:
            return ""
        raise UsageError(
            "--trace adds kernel parameters, which Secure Boot does not allow",
            fix="trace without the certificate, or with --direct",
        )
    return build_kprobe_cmdline(request, uki.uname if uki is not None else "")


def build_kprobe_cmdline(request: BootRequest, release: str) -> str:
    """Build the kernel parameters that print opened files and ports; "" when none are traced."""
    file_probes = kprobes.build_file_kprobes(release) if request.trace else ()
    port_probes = kprobes.build_port_kprobes() if request.ports else ()
    probes = ";".join((*file_probes, *port_probes))
    return f"tp_printk kprobe_event={probes}" if probes else ""
