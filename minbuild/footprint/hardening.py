"""Settings of the kernel that are recommended, and what each would cost a host that lacks it.

Source: Kernel Self Protection Project, "Recommended Settings" (configuration, command line, sysctls) for
x86_64 and Linux 6.12. Of every row at least one way is what kernel-hardening-checker asks for
(tests/oracle/test_hardening.py).
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from minbuild.manifest.cmdline import split

ASSIGNED = re.compile(
    r"^\s*-?([a-z][\w*-]*(?:[./][\w*-]+)+)\s*=\s*(\S+)\s*$|\becho\s+(\S+)\s+>\s*/proc/sys/(\S+)",
    re.MULTILINE,
)
"""NAME=VALUE alone in a line (sysctl.d(5)), or a script that writes to /proc/sys."""
MORE = re.compile(r"^MORE_SYSCTLS=(?:'([^']*)'|(\S*))$", re.MULTILINE)
"""The manifest's own in the host's script: they win."""
PLACES = re.compile(r"/usr/lib/minbuild/protection|/(?:etc|(?:usr/)?lib)/sysctl\.d/[^/]+\.conf|/etc/sysctl\.conf")  # fmt: skip
OWN = "a kernel of your own"


@dataclass(frozen=True, slots=True)
class Recommended:
    """One setting: each way to have it, and the price."""

    ways: tuple[str, ...]
    """`config NAME=VALUE` (n: not set), `cmdline WORD` or `sysctl NAME=VALUE`; one of them is enough."""
    cost: str
    module: str = ""
    """What `m` stands for: without that module in the image it is as good as not set."""


def _row(ways: str, cost: str, module: str = "") -> Recommended:
    return Recommended(tuple(ways.split(" | ")), cost, module)


RECOMMENDED = (
    # what the kernel checks and wipes
    _row("config BUG_ON_DATA_CORRUPTION=y", OWN),
    _row("config FORTIFY_SOURCE=y", OWN),
    _row("config HARDENED_USERCOPY=y | cmdline hardened_usercopy=1", OWN),
    _row("config INIT_STACK_ALL_ZERO=y", OWN),
    _row("config INIT_ON_ALLOC_DEFAULT_ON=y | cmdline init_on_alloc=1", "up to 1 % of the time"),
    _row("config INIT_ON_FREE_DEFAULT_ON=y | cmdline init_on_free=1", "1 to 5 % of the time where much memory is freed; boot/hardening"),
    _row("config SLAB_MERGE_DEFAULT=n | cmdline slab_nomerge", "some MB of memory; boot/hardening"),
    _row("config RANDOM_KMALLOC_CACHES=y", f"{OWN}, and some MB of memory"),
    _row("config SLAB_FREELIST_RANDOM=y", OWN),
    _row("config SLAB_FREELIST_HARDENED=y", OWN),
    _row("config SHUFFLE_PAGE_ALLOCATOR=y", OWN),
    _row("cmdline page_alloc.shuffle=1", "less of the processor's cache for memory, on some machines"),
    _row("config SCHED_STACK_END_CHECK=y", OWN),
    _row("config STACKPROTECTOR_STRONG=y", OWN),
    _row("config STRICT_KERNEL_RWX=y", OWN),
    _row("config STRICT_MODULE_RWX=y", OWN),
    _row("config VMAP_STACK=y", OWN),
    _row("config RANDOMIZE_BASE=y", OWN),
    _row("config RANDOMIZE_MEMORY=y", OWN),
    _row("config RANDOMIZE_KSTACK_OFFSET_DEFAULT=y | cmdline randomize_kstack_offset=1 | cmdline randomize_kstack_offset=on", "some cycles for each system call; boot/hardening"),
    _row("config ZERO_CALL_USED_REGS=y", f"{OWN}, 1 % of the time and of its size"),
    _row("config DEBUG_VIRTUAL=y", f"{OWN}, and a check for each address that it translates"),
    _row("config DEBUG_SG=y", f"{OWN}, and a check for each buffer of a device"),
    _row("config DEBUG_NOTIFIERS=y", f"{OWN}, and a check for each notification"),
    _row("config UBSAN_BOUNDS=y", f"{OWN}, some percent of its size"),
    _row("config KFENCE_SAMPLE_INTERVAL=100 | cmdline kfence.sample_interval=100", "2 MB of memory"),
    _row("config RANDSTRUCT_FULL=y", f"{OWN} with a secret seed: no other build has its bytes"),
    _row("config GCC_PLUGIN_LATENT_ENTROPY=y", OWN),
    _row("config PAGE_TABLE_CHECK=y", f"{OWN}, and a check for each page that is mapped"),
    _row("config SCHED_CORE=y", OWN),
    _row("config CFI_CLANG=y", f"{OWN}, built by clang"),
    _row("cmdline hash_pointers=always", "addresses in the log tell a developer nothing"),
    _row("cmdline mitigations=auto,nosmt", "every second thread of the processors"),
    # who may change it
    _row("config SECURITY_LOCKDOWN_LSM=y", OWN),
    _row("config LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY=y | cmdline lockdown=confidentiality", "perf and kprobes for root; boot/hardening has lockdown=integrity"),
    _row("config MODULE_SIG=y", OWN),
    _row("config MODULE_SIG_FORCE=y | cmdline module.sig_enforce=1", "modules that nobody signed"),
    _row("config MODULES=n | sysctl kernel.modules_disabled=1", "drivers of devices that come later; lock_modules of boot/init"),
    _row("config STATIC_USERMODEHELPER=y", f"{OWN}; what the kernel starts by itself ends"),
    _row("config KEXEC=n | sysctl kernel.kexec_load_disabled=1", "a new kernel without a restart"),
    _row("config HIBERNATION=n | cmdline nohibernate", "sleep on a disk, which the host does not do; one word"),
    _row("config DEVMEM=n | cmdline lockdown=integrity | cmdline lockdown=confidentiality", "tools that read the machine's memory as root; boot/hardening, Secure Boot"),
    _row("config PROC_KCORE=n | cmdline lockdown=confidentiality", "gdb on the running kernel"),
    _row("cmdline bdev_allow_write_mounted=0", "root writes to no disk that is mounted: filesystem/check does not"),
    _row("cmdline proc_mem.force_override=never", "breakpoints of debuggers"),
    # what programs and neighbours reach
    _row("config BPF_SYSCALL=n | sysctl kernel.unprivileged_bpf_disabled=1", "BPF programs of users"),
    _row("config USER_NS=n | sysctl user.max_user_namespaces=0", "containers of users"),
    _row("config IO_URING=n | sysctl kernel.io_uring_disabled=2", "io_uring; QEMU does without"),
    _row("config USERFAULTFD=n | sysctl vm.unprivileged_userfaultfd=0", "userfaultfd of users"),
    _row("config MAGIC_SYSRQ=n | sysctl kernel.sysrq=0", "keys that sync and restart a host that hangs"),
    _row("config LDISC_AUTOLOAD=n | sysctl dev.tty.ldisc_autoload=0", "line disciplines of users"),
    _row("config LEGACY_TIOCSTI=n | sysctl dev.tty.legacy_tiocsti=0", "programs that type for others"),
    _row("config DEBUG_FS=n | cmdline debugfs=off", "the kernel's own measurements; boot/hardening"),
    _row("config LEGACY_VSYSCALL_NONE=y | cmdline vsyscall=none", "programs of before 2014; boot/hardening"),
    _row("config IA32_EMULATION=n | cmdline ia32_emulation=0", "programs of 32 bits, which a host has none of; one word"),
    _row("config MODIFY_LDT_SYSCALL=n", f"{OWN}; old emulators of programs"),
    _row("config COREDUMP=n | sysctl kernel.core_pattern=/dev/null/core", "what a program that crashed held"),
    _row("config SECURITY_DMESG_RESTRICT=y | sysctl kernel.dmesg_restrict=1", "the log for users"),
    _row("config BINFMT_MISC=n", OWN, "binfmt_misc"),
    _row("config INET_DIAG=n", OWN, "inet_diag"),
    _row("config X86_MSR=n", OWN, "msr"),
    _row("config X86_CPUID=n", OWN, "cpuid"),
    _row("config IP_SCTP=n", OWN, "sctp"),
    _row("config TIPC=n", OWN, "tipc"),
    _row("config SMB_SERVER=n", OWN, "ksmbd"),
    _row("sysctl kernel.kptr_restrict=2", "addresses for debuggers"),
    _row("sysctl kernel.perf_event_paranoid=3", "perf for users"),
    _row("sysctl kernel.yama.ptrace_scope=3", "strace and gdb, for root too; boot/init has 2"),
    _row("sysctl kernel.randomize_va_space=2", "nothing"),
    _row("sysctl kernel.oops_limit=100", "a restart after 100 faults of the kernel"),
    _row("sysctl kernel.warn_limit=100", "a restart after 100 warnings, which a guest may cause"),
    _row("sysctl net.core.bpf_jit_harden=2", "some percent of the time of BPF programs"),
    _row("sysctl fs.protected_symlinks=1", "nothing"),
    _row("sysctl fs.protected_hardlinks=1", "nothing"),
    _row("sysctl fs.protected_fifos=2", "nothing"),
    _row("sysctl fs.protected_regular=2", "nothing"),
    _row("sysctl fs.suid_dumpable=0", "nothing"),
    _row("sysctl vm.mmap_min_addr=65536", "programs that map the address 0"),
    _row("sysctl vm.mmap_rnd_bits=32", "nothing"),
    _row("sysctl vm.mmap_rnd_compat_bits=16", "nothing"),
    _row("sysctl net.ipv4.tcp_syncookies=1", "nothing"),
    _row("sysctl net.ipv4.conf.all.accept_source_route=0", "nothing"),
    _row("sysctl net.ipv6.conf.all.accept_source_route=0", "nothing"),
    _row("sysctl net.ipv6.conf.all.accept_ra=0", "the host's own IPv6 address from its router; guests reach it not"),
    _row("sysctl net.ipv4.conf.all.rp_filter=1", "answers that come by another link than the question went"),
    _row("sysctl net.ipv4.conf.all.accept_redirects=0", "better routes that a neighbour knows"),
    _row("sysctl net.ipv6.conf.all.accept_redirects=0", "better routes that a neighbour knows"),
    # devices that write to memory
    _row("config IOMMU_DEFAULT_DMA_STRICT=y | cmdline iommu.strict=1", "some percent of the time of fast cards and disks"),
    _row("config INTEL_IOMMU_DEFAULT_ON=y | cmdline intel_iommu=on", "firmware with wrong tables does not start"),
    _row("config EFI_DISABLE_PCI_DMA=y | cmdline efi=disable_early_pci_dma", "some firmware hangs"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Settings:
    """What a host sets."""

    config: Mapping[str, str]
    cmdline: Collection[str]
    sysctls: Mapping[str, str]
    modules: Collection[str]
    """Names of the modules in the image, with `_`."""


def sysctls(texts: Mapping[str, str]) -> dict[str, str]:
    """Name with dots → value, from the host's script and sysctl.d, in the order of paths; the last counts."""
    found: dict[str, str] = {}
    for path in sorted(texts):
        if not PLACES.fullmatch(path):
            continue
        for name, value, written, file in ASSIGNED.findall(texts[path]):
            found[(name or file).replace("/", ".")] = value or written
        for quoted, bare in MORE.findall(texts[path]):
            for word in (quoted or bare).split():
                name, _, value = word.partition("=")
                found[name.replace("/", ".")] = value
    return found


def lacks(
    config: Mapping[str, str], cmdline: str, texts: Mapping[str, str], modules: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Each recommended setting that does not hold, by its first way, and what is there with its cost."""
    settings = Settings(config, frozenset(split(cmdline)), sysctls(texts), frozenset(modules))
    for row in RECOMMENDED:
        if not any(_holds(way, row, settings) for way in row.ways):
            other = f"; or {', or '.join(row.ways[1:])}" if row.ways[1:] else ""
            yield row.ways[0], f"{_found(row.ways[0], settings)}{other}; costs: {row.cost}"


def _holds(way: str, row: Recommended, settings: Settings) -> bool:
    kind, _, wish = way.partition(" ")
    if kind == "cmdline":
        return wish in settings.cmdline
    name, _, value = wish.partition("=")
    if kind == "sysctl":
        return settings.sysctls.get(name) == value
    found = settings.config.get(name, "n")
    if found == "m" and value == "n" and row.module:
        return row.module not in settings.modules
    return found == value


def _found(way: str, settings: Settings) -> str:
    kind, _, wish = way.partition(" ")
    name = wish.partition("=")[0]
    if kind == "cmdline":
        return "is not on the command line"
    found = settings.sysctls.get(name) if kind == "sysctl" else settings.config.get(name)
    return f"is {found}" if found is not None else "is not set"
