"""SPDX names from copyright files: by rule and table, never by guessing."""

import pytest

from minbuild.compliance.licences import parse_expression, read_licences

HEAD = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n"


@pytest.mark.parametrize(
    ("text", "spdx"),
    [
        ("GPL-2+", "GPL-2.0-or-later"),
        ("GPL-2", "GPL-2.0-only"),
        ("LGPL-2.1+", "LGPL-2.1-or-later"),
        ("AGPL-3", "AGPL-3.0-only"),
        ("Expat", "MIT"),
        ("BSD-3-clause", "BSD-3-Clause"),
        ("zlib", "Zlib"),
        ("GPL-2+ or Artistic", "GPL-2.0-or-later OR Artistic-1.0-Perl"),
        ("GPL-2+, and Expat", "GPL-2.0-or-later AND MIT"),
        ("public-domain", "LicenseRef-public-domain"),
        ("GPL-2+ with OpenSSL exception", "LicenseRef-GPL-2-with-OpenSSL-exception"),
        ("A or B and C", "LicenseRef-A-or-B-and-C"),
    ],
)
def test_debian_s_short_names_become_spdx(text: str, spdx: str) -> None:
    assert parse_expression(text) == spdx


def test_every_licence_of_a_machine_readable_file_is_named_once() -> None:
    text = (
        HEAD + "Files: *\nLicense: GPL-2+\n words\n\nFiles: x\nLicense: Expat\n\nLicense: GPL-2+\n"
    )
    assert read_licences(text) == ("GPL-2.0-or-later", "MIT")


@pytest.mark.parametrize("text", ["", "This is under the GPL.\nLicense: GPL-2+\n", HEAD])
def test_what_is_not_machine_readable_is_unknown(text: str) -> None:
    assert read_licences(text) == ("unknown",)
