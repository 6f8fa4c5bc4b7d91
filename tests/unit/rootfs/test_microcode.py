"""Microcode: whose file is for which processor, and one file for each maker in the tree."""

import pytest

from minbuild.rootfs.microcode import VENDORS, serves_processor

AMD, INTEL = VENDORS
XEON, EPYC, OLD = (0, 6, 0x55), (2, 0x19, 1), (2, 0x12, 1)


@pytest.mark.parametrize(
    ("name", "processors", "serves"),
    [
        ("06-55-04", (), True),
        ("06-55-04", (XEON,), True),
        ("06-55-0b", (XEON, EPYC), True),
        ("06-8f-08_0x10", (XEON,), False),
        ("06-55-04", (EPYC,), False),
        ("README", (XEON,), False),
    ],
)
def test_intels_files_are_named_by_family_and_model(
    name: str, processors: tuple[tuple[int, int, int], ...], serves: bool
) -> None:
    assert serves_processor(INTEL, name, processors) is serves


@pytest.mark.parametrize(
    ("name", "processors", "serves"),
    [
        ("microcode_amd_fam19h.bin", (EPYC,), True),
        ("microcode_amd_fam17h.bin", (EPYC,), False),
        ("microcode_amd.bin", (OLD,), True),
        ("microcode_amd.bin", (EPYC,), False),
        ("microcode_amd_fam19h.bin", (XEON,), False),
        ("microcode_amd.bin", (), True),
    ],
)
def test_amds_files_are_named_by_family(
    name: str, processors: tuple[tuple[int, int, int], ...], serves: bool
) -> None:
    assert serves_processor(AMD, name, processors) is serves
