"""Kernel modules and the kernel's own lists."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minbuild.facts.detect import read_facts, read_symbols
from minbuild.facts.kernel_modules import read_module
from minbuild.facts.model import BuiltinModules, KernelConfig, Malformed, Module, Symbols
from tests.support import deb, elf
from tests.unit.facts.packages import facts

TREE = "/usr/lib/modules/6.1"
INFO = (
    ("description", "says = anything \x01"),
    ("alias", "pci:v00001AF4d00001000sv*sd*bc*sc*i*"),
    ("alias", "fs-one"),
    ("firmware", "one/fw.bin"),
    ("firmware", "one/fw-2.bin"),
    ("softdep", "pre: crypto-a crypto_b post: late-one"),
    ("softdep", "post: other"),
    ("weakdep", "maybe-so"),
    ("depends", "two-a,three_b"),
    ("name", "one_x"),
    ("vermagic", "6.1 SMP mod_unload "),
)
ONE = Module(
    name="one_x",
    depends=("two_a", "three_b"),
    soft_pre=("crypto_a", "crypto_b"),
    soft_post=("late_one", "other"),
    weak=("maybe_so",),
    firmware=("one/fw.bin", "one/fw-2.bin"),
    aliases=("pci:v00001AF4d00001000sv*sd*bc*sc*i*", "fs-one"),
    vermagic="6.1 SMP mod_unload",
)
BYTES = elf.module(
    INFO,
    imports=("kmalloc@0000beef", "_printk@12345678", "module_layout@00c0ffee", "?perhaps"),
    exports=("one_undo@0badcafe", "one_do@00000001"),
)
SYMBOLS = Symbols(
    defined=("one_do@00000001", "one_undo@0badcafe"),
    undefined=("_printk@12345678", "kmalloc@0000beef", "module_layout@00c0ffee"),
    weak=("perhaps",),
)


@pytest.mark.parametrize("ending", ["", ".xz", ".zst", ".gz"])
@pytest.mark.parametrize("directory", ["/lib/modules", "/usr/lib/modules"])
def test_a_module_is_read_in_every_compression(tmp_path: Path, ending: str, directory: str) -> None:
    path = f"{TREE}/kernel/one-x.ko{ending}"
    assert read_facts(path, deb.compress(BYTES, ending[1:])) == ONE
    assert read_symbols(path, deb.compress(BYTES, ending[1:])) == SYMBOLS
    line = f"{directory}/6.1/a.ko{ending} module depends=b"
    assert read_facts(f"{TREE}/a.ko{ending}", deb.compress(BYTES, ending[1:])) == ONE
    if directory.startswith("/usr"):
        assert facts(tmp_path, line) == Module("a", depends=("b",))


def test_versions_are_read_as_ubuntu_packs_them() -> None:
    imports = ("kmalloc@0000beef", "a" * 80 + "@12345678", "module_layout@00c0ffee")
    found = read_symbols(f"{TREE}/one.ko", elf.module(INFO, imports=imports, packed=True))
    assert found is not None
    assert found.undefined == tuple(sorted(imports))


@given(cut=st.integers(0, 4000), at=st.integers(0, 4000), to=st.integers(0, 255))
def test_damaged_packed_versions_are_no_traceback(cut: int, at: int, to: int) -> None:
    data = bytearray(elf.module(INFO, imports=("kmalloc@0000beef", "x@1"), packed=True))
    data[at % len(data)] = to
    read_facts(f"{TREE}/one.ko", bytes(data[: max(4, len(data) - cut)]))
    read_symbols(f"{TREE}/one.ko", bytes(data[: max(4, len(data) - cut)]))


def test_a_signature_at_the_end_is_no_damage() -> None:
    assert read_facts(f"{TREE}/one.ko", elf.module(INFO, signed=True)) is not None


def test_a_module_without_a_name_has_that_of_its_file() -> None:
    found = read_facts(f"{TREE}/kernel/kvm-amd.ko", elf.module([("depends", "")]))
    assert found == Module("kvm_amd")


def test_an_object_elsewhere_is_no_module() -> None:
    assert not isinstance(read_facts("/usr/share/one.ko", BYTES), Module)


@pytest.mark.parametrize(
    ("path", "data", "reason"),
    [
        ("a.ko", b"not a module", "ELF header"),
        ("a.ko.xz", b"this is no xz stream", "xz stream is damaged"),
        ("a.ko.xz", deb.compress(BYTES, "xz")[:-30], "xz stream is truncated"),
        ("a.ko.zst", b"not zstd", "zstd stream is damaged"),
        ("a.ko.gz", b"not gzip", "gzip stream is damaged"),
        ("a.ko.gz", b"", "ELF header"),
        ("a.ko", elf.module([("alias", "new\nline")]), "control characters"),
    ],
)
def test_a_damaged_module_is_a_fact(path: str, data: bytes, reason: str) -> None:
    found = read_facts(f"{TREE}/{path}", data)
    assert isinstance(found, Malformed)
    assert reason in found.reason


SEEDS = [("a.ko", BYTES), ("a.ko.xz", deb.compress(BYTES, "xz"))]
SEEDS += [("a.ko.zst", deb.compress(BYTES, "zst")), ("a.ko.gz", deb.compress(BYTES, "gz"))]


@given(
    seed=st.sampled_from(SEEDS),
    changes=st.lists(st.tuples(st.integers(0, 4096), st.integers(0, 255)), max_size=4),
    end=st.integers(0, 4096),
)
@settings(max_examples=600, deadline=None)
def test_damaged_modules_are_facts_or_damaged(
    seed: tuple[str, bytes], changes: list[tuple[int, int]], end: int
) -> None:
    path, data = seed
    damaged = bytearray(data[: len(data) - end] if end < len(data) else data)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    assert isinstance(read_module(path, bytes(damaged)), Module | Malformed)


def test_builtins_have_their_fields() -> None:
    data = (
        b"ext4.softdep=pre: crc32c\0ext4.alias=fs-ext4\0ext4.description=\xff\0"
        b"mc-dev.firmware=mc.bin\0mc-dev.file=x/mc-dev\0"
    )
    assert read_facts(f"{TREE}/modules.builtin.modinfo", data) == BuiltinModules(
        {
            "ext4": Module("ext4", soft_pre=("crc32c",), aliases=("fs-ext4",)),
            "mc_dev": Module("mc_dev", firmware=("mc.bin",)),
        }
    )


def test_builtins_are_named_by_their_paths() -> None:
    data = b"kernel/fs/ext4/ext4.ko\nkernel/net/a-b.ko\n"
    assert read_facts(f"{TREE}/modules.builtin", data) == BuiltinModules(
        {"a_b": Module("a_b"), "ext4": Module("ext4")}
    )


def test_a_kernel_config_holds_what_is_set() -> None:
    data = b'# comment\nCONFIG_KVM=m\n# CONFIG_XEN is not set\nCONFIG_CC="gcc 14"\nCONFIG_HZ=250\n'
    assert read_facts("/boot/config-6.1", data) == KernelConfig(
        {"CC": "gcc 14", "HZ": "250", "KVM": "m"}
    )


KERNEL = ("kmalloc@0000beef", "_printk@12345678")


@pytest.mark.parametrize("path", ["/boot/vmlinuz-6.1", "/usr/lib/modules/6.1/vmlinuz"])
@pytest.mark.parametrize("ending", ["zst", "xz"])
def test_a_kernel_image_says_what_it_exports(path: str, ending: str) -> None:
    data = elf.kernel(KERNEL, payload=lambda data: deb.compress(data, ending) + bytes(4))
    assert read_symbols(path, data) == Symbols(tuple(sorted(KERNEL)), (), ())
    assert read_symbols("/usr/share/vmlinuz", data) is None


def test_a_kernel_without_versions_of_symbols_exports_names() -> None:
    assert read_symbols("/boot/vmlinux-6.1", elf.kernel(["b", "a"])) == Symbols(("a", "b"), (), ())
    gz = elf.kernel(["b", "a"], payload=lambda data: deb.compress(data, "gz"))
    assert read_symbols("/boot/vmlinuz-6.1", gz) == Symbols(("a", "b"), (), ())


def test_a_kernel_that_holds_no_elf_file_says_nothing() -> None:
    image = elf.kernel([], payload=lambda data: deb.compress(b"MZ", "gz"))
    assert read_symbols("/boot/vmlinuz-6.1", image) is None
    assert read_symbols("/boot/vmlinuz-6.1", b"MZ" + bytes(9000)) is None


@given(
    changes=st.lists(st.tuples(st.integers(0, 4096), st.integers(0, 255)), max_size=4),
    end=st.integers(0, 4096),
)
@settings(max_examples=300, deadline=None)
def test_a_damaged_kernel_says_nothing_or_less(changes: list[tuple[int, int]], end: int) -> None:
    data = elf.kernel(KERNEL, payload=lambda data: deb.compress(data, "gz"))
    for whole in (data, elf.kernel(KERNEL)):
        damaged = bytearray(whole[: len(whole) - end] if end < len(whole) else whole)
        for place, value in changes:
            damaged[place % len(damaged)] = value
        assert isinstance(read_symbols("/boot/vmlinuz-6", bytes(damaged)), Symbols | None)
