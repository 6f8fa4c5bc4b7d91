"""Recommended kernel settings, and the cost of each for a host that lacks it.

Source: Kernel Self Protection Project, "Recommended Settings" (configuration, command line, sysctls) for
x86_64 and Linux 6.12. Of every row at least one way is what kernel-hardening-checker asks for
(tests/oracle/test_hardening.py).
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from minbuild.manifest.kernel_cmdline import split_cmdline

ASSIGNMENT = re.compile(
    r"^\s*-?([a-z][\w*-]*(?:[./][\w*-]+)+)\s*=\s*(\S+)\s*$|\becho\s+(\S+)\s+>\s*/proc/sys/(\S+)",
    re.MULTILINE,
)
"""NAME=VALUE alone in a line (sysctl.d(5)), or a script that writes to /proc/sys."""
EXTRA_SYSCTLS = re.compile(r"^MORE_SYSCTLS=(?:'([^']*)'|(\S*))$", re.MULTILINE)
"""The manifest's own in the host's script: they win."""
SYSCTL_FILES = re.compile(r"/usr/lib/minbuild/protection|/(?:etc|(?:usr/)?lib)/sysctl\.d/[^/]+\.conf|/etc/sysctl\.conf")  # fmt: skip
CUSTOM_KERNEL = "a kernel of your own"


@dataclass(frozen=True, slots=True)
class RecommendedSetting:
    """One setting: each way to have it, and the price."""

    alternatives: tuple[str, ...]
    """`config NAME=VALUE` (n: not set), `cmdline WORD` or `sysctl NAME=VALUE`; one of them is enough."""
    cost: str
    module: str = ""
    """Meaning of `m`: without that module in the image the option is not set."""


def _recommend(alternatives: str, cost: str, module: str = "") -> RecommendedSetting:
    return RecommendedSetting(tuple(alternatives.split(" | ")), cost, module)


RECOMMENDED_SETTINGS = (
    # what the kernel checks and wipes
    _recommend("config BUG_ON_DATA_CORRUPTION=y", CUSTOM_KERNEL),
    _recommend("config FORTIFY_SOURCE=y", CUSTOM_KERNEL),
    _recommend("config HARDENED_USERCOPY=y | cmdline hardened_usercopy=1", CUSTOM_KERNEL),
    _recommend("config INIT_STACK_ALL_ZERO=y", CUSTOM_KERNEL),
    _recommend("config INIT_ON_ALLOC_DEFAULT_ON=y | cmdline init_on_alloc=1", "up to 1 % of the time"),
    _recommend("config INIT_ON_FREE_DEFAULT_ON=y | cmdline init_on_free=1", "1 to 5 % of the time where much memory is freed; boot/hardening"),
    _recommend("config SLAB_MERGE_DEFAULT=n | cmdline slab_nomerge", "some MB of memory; boot/hardening"),
    _recommend("config RANDOM_KMALLOC_CACHES=y", f"{CUSTOM_KERNEL}, and some MB of memory"),
    _recommend("config SLAB_FREELIST_RANDOM=y", CUSTOM_KERNEL),
    _recommend("config SLAB_FREELIST_HARDENED=y", CUSTOM_KERNEL),
    _recommend("config SHUFFLE_PAGE_ALLOCATOR=y", CUSTOM_KERNEL),
    _recommend("cmdline page_alloc.shuffle=1", "less of the processor's cache for memory, on some machines"),
    _recommend("config SCHED_STACK_END_CHECK=y", CUSTOM_KERNEL),
    _recommend("config STACKPROTECTOR_STRONG=y", CUSTOM_KERNEL),
    _recommend("config STRICT_KERNEL_RWX=y", CUSTOM_KERNEL),
    _recommend("config STRICT_MODULE_RWX=y", CUSTOM_KERNEL),
    _recommend("config VMAP_STACK=y", CUSTOM_KERNEL),
    _recommend("config RANDOMIZE_BASE=y", CUSTOM_KERNEL),
    _recommend("config RANDOMIZE_MEMORY=y", CUSTOM_KERNEL),
    _recommend("config RANDOMIZE_KSTACK_OFFSET_DEFAULT=y | cmdline randomize_kstack_offset=1 | cmdline randomize_kstack_offset=on", "some cycles for each system call; boot/hardening"),
    _recommend("config ZERO_CALL_USED_REGS=y", f"{CUSTOM_KERNEL}, 1 % of the time and of its size"),
    _recommend("config DEBUG_VIRTUAL=y", f"{CUSTOM_KERNEL}, and a check for each address that it translates"),
    _recommend("config DEBUG_SG=y", f"{CUSTOM_KERNEL}, and a check for each buffer of a device"),
    _recommend("config DEBUG_NOTIFIERS=y", f"{CUSTOM_KERNEL}, and a check for each notification"),
    _recommend("config UBSAN_BOUNDS=y", f"{CUSTOM_KERNEL}, some percent of its size"),
    _recommend("config KFENCE_SAMPLE_INTERVAL=100 | cmdline kfence.sample_interval=100", "2 MB of memory"),
    _recommend("config RANDSTRUCT_FULL=y", f"{CUSTOM_KERNEL} with a secret seed: no other build has its bytes"),
    _recommend("config GCC_PLUGIN_LATENT_ENTROPY=y", CUSTOM_KERNEL),
    _recommend("config PAGE_TABLE_CHECK=y", f"{CUSTOM_KERNEL}, and a check for each page that is mapped"),
    _recommend("config SCHED_CORE=y", CUSTOM_KERNEL),
    _recommend("config CFI_CLANG=y", f"{CUSTOM_KERNEL}, built by clang"),
    _recommend("cmdline hash_pointers=always", "addresses in the log tell a developer nothing"),
    _recommend("cmdline mitigations=auto,nosmt", "every second thread of the processors"),
    # who may change it
    _recommend("config SECURITY_LOCKDOWN_LSM=y", CUSTOM_KERNEL),
    _recommend("config LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY=y | cmdline lockdown=confidentiality", "perf and kprobes for root; boot/hardening has lockdown=integrity"),
    _recommend("config MODULE_SIG=y", CUSTOM_KERNEL),
    _recommend("config MODULE_SIG_FORCE=y | cmdline module.sig_enforce=1", "modules that nobody signed"),
    _recommend("config MODULES=n | sysctl kernel.modules_disabled=1", "drivers of devices that come later; lock_modules of boot/init"),
    _recommend("config STATIC_USERMODEHELPER=y", f"{CUSTOM_KERNEL}; what the kernel starts by itself ends"),
    _recommend("config KEXEC=n | sysctl kernel.kexec_load_disabled=1", "a new kernel without a restart"),
    _recommend("config HIBERNATION=n | cmdline nohibernate", "sleep on a disk, which the host does not do; one word"),
    _recommend("config DEVMEM=n | cmdline lockdown=integrity | cmdline lockdown=confidentiality", "tools that read the machine's memory as root; boot/hardening, Secure Boot"),
    _recommend("config PROC_KCORE=n | cmdline lockdown=confidentiality", "gdb on the running kernel"),
    _recommend("cmdline bdev_allow_write_mounted=0", "root writes to no disk that is mounted: filesystem/check does not"),
    _recommend("cmdline proc_mem.force_override=never", "breakpoints of debuggers"),
    # what programs and neighbours reach
    _recommend("config BPF_SYSCALL=n | sysctl kernel.unprivileged_bpf_disabled=1", "BPF programs of users"),
    _recommend("config USER_NS=n | sysctl user.max_user_namespaces=0", "containers of users"),
    _recommend("config IO_URING=n | sysctl kernel.io_uring_disabled=2", "io_uring; QEMU does without"),
    _recommend("config USERFAULTFD=n | sysctl vm.unprivileged_userfaultfd=0", "userfaultfd of users"),
    _recommend("config MAGIC_SYSRQ=n | sysctl kernel.sysrq=0", "keys that sync and restart a host that hangs"),
    _recommend("config LDISC_AUTOLOAD=n | sysctl dev.tty.ldisc_autoload=0", "line disciplines of users"),
    _recommend("config LEGACY_TIOCSTI=n | sysctl dev.tty.legacy_tiocsti=0", "programs that type for others"),
    _recommend("config DEBUG_FS=n | cmdline debugfs=off", "the kernel's own measurements; boot/hardening"),
    _recommend("config LEGACY_VSYSCALL_NONE=y | cmdline vsyscall=none", "programs of before 2014; boot/hardening"),
    _recommend("config IA32_EMULATION=n | cmdline ia32_emulation=0", "programs of 32 bits, which a host has none of; one word"),
    _recommend("config MODIFY_LDT_SYSCALL=n", f"{CUSTOM_KERNEL}; old emulators of programs"),
    _recommend("config COREDUMP=n | sysctl kernel.core_pattern=/dev/null/core", "what a program that crashed held"),
    _recommend("config SECURITY_DMESG_RESTRICT=y | sysctl kernel.dmesg_restrict=1", "the log for users"),
    _recommend("config BINFMT_MISC=n", CUSTOM_KERNEL, "binfmt_misc"),
    _recommend("config INET_DIAG=n", CUSTOM_KERNEL, "inet_diag"),
    _recommend("config X86_MSR=n", CUSTOM_KERNEL, "msr"),
    _recommend("config X86_CPUID=n", CUSTOM_KERNEL, "cpuid"),
    _recommend("config IP_SCTP=n", CUSTOM_KERNEL, "sctp"),
    _recommend("config TIPC=n", CUSTOM_KERNEL, "tipc"),
    _recommend("config SMB_SERVER=n", CUSTOM_KERNEL, "ksmbd"),
    _recommend("sysctl kernel.kptr_restrict=2", "addresses for debuggers"),
    _recommend("sysctl kernel.perf_event_paranoid=3", "perf for users"),
    _recommend("sysctl kernel.yama.ptrace_scope=3", "strace and gdb, for root too; boot/init has 2"),
    _recommend("sysctl kernel.randomize_va_space=2", "nothing"),
    _recommend("sysctl kernel.oops_limit=100", "a restart after 100 faults of the kernel"),
    _recommend("sysctl kernel.warn_limit=100", "a restart after 100 warnings, which a guest may cause"),
    _recommend("sysctl net.core.bpf_jit_harden=2", "some percent of the time of BPF programs"),
    _recommend("sysctl fs.protected_symlinks=1", "nothing"),
    _recommend("sysctl fs.protected_hardlinks=1", "nothing"),
    _recommend("sysctl fs.protected_fifos=2", "nothing"),
    _recommend("sysctl fs.protected_regular=2", "nothing"),
    _recommend("sysctl fs.suid_dumpable=0", "nothing"),
    _recommend("sysctl vm.mmap_min_addr=65536", "programs that map the address 0"),
    _recommend("sysctl vm.mmap_rnd_bits=32", "nothing"),
    _recommend("sysctl vm.mmap_rnd_compat_bits=16", "nothing"),
    _recommend("sysctl net.ipv4.tcp_syncookies=1", "nothing"),
    _recommend("sysctl net.ipv4.conf.all.accept_source_route=0", "nothing"),
    _recommend("sysctl net.ipv6.conf.all.accept_source_route=0", "nothing"),
    _recommend("sysctl net.ipv6.conf.all.accept_ra=0", "the host's own IPv6 address from its router; guests reach it not"),
    _recommend("sysctl net.ipv4.conf.all.rp_filter=1", "answers that come by another link than the question went"),
    _recommend("sysctl net.ipv4.conf.all.accept_redirects=0", "better routes that a neighbour knows"),
    _recommend("sysctl net.ipv6.conf.all.accept_redirects=0", "better routes that a neighbour knows"),
    # devices that write to memory
    _recommend("config IOMMU_DEFAULT_DMA_STRICT=y | cmdline iommu.strict=1", "some percent of the time of fast cards and disks"),
    _recommend("config INTEL_IOMMU_DEFAULT_ON=y | cmdline intel_iommu=on", "firmware with wrong tables does not start"),
    _recommend("config EFI_DISABLE_PCI_DMA=y | cmdline efi=disable_early_pci_dma", "some firmware hangs"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class EffectiveSettings:
    """What a host sets."""

    config: Mapping[str, str]
    cmdline: Collection[str]
    sysctls: Mapping[str, str]
    modules: Collection[str]
    """Names of the modules in the image, with `_`."""


def read_sysctls(texts: Mapping[str, str]) -> dict[str, str]:
    """Name with dots → value, from the host's script and sysctl.d, in the order of paths; the last counts."""
    values: dict[str, str] = {}
    for path in sorted(texts):
        if not SYSCTL_FILES.fullmatch(path):
            continue
        for name, value, written, file in ASSIGNMENT.findall(texts[path]):
            values[(name or file).replace("/", ".")] = value or written
        for quoted, bare in EXTRA_SYSCTLS.findall(texts[path]):
            for assignment in (quoted or bare).split():
                name, _, value = assignment.partition("=")
                values[name.replace("/", ".")] = value
    return values


def find_unmet_settings(
    config: Mapping[str, str], cmdline: str, texts: Mapping[str, str], modules: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Each recommended setting that does not hold, by its first way, and what is there with its cost."""
    settings = EffectiveSettings(
        config, frozenset(split_cmdline(cmdline)), read_sysctls(texts), frozenset(modules)
    )
    for row in RECOMMENDED_SETTINGS:
        if not any(_is_met(way, row, settings) for way in row.alternatives):
            alternatives = (
                f"; or {', or '.join(row.alternatives[1:])}" if row.alternatives[1:] else ""
            )
            yield (
                row.alternatives[0],
                f"{_describe_current(row.alternatives[0], settings)}{alternatives}; costs: {row.cost}",
            )


def _is_met(alternative: str, row: RecommendedSetting, settings: EffectiveSettings) -> bool:
    kind, _, setting = alternative.partition(" ")
    if kind == "cmdline":
        return setting in settings.cmdline
    name, _, value = setting.partition("=")
    if kind == "sysctl":
        return settings.sysctls.get(name) == value
    current = settings.config.get(name, "n")
    if current == "m" and value == "n" and row.module:
        return row.module not in settings.modules
    return current == value


def _describe_current(alternative: str, settings: EffectiveSettings) -> str:
    kind, _, setting = alternative.partition(" ")
    name = setting.partition("=")[0]
    if kind == "cmdline":
        return "is not on the command line"
    current = settings.sysctls.get(name) if kind == "sysctl" else settings.config.get(name)
    return f"is {current}" if current is not None else "is not set"
