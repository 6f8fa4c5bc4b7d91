"""Bills of materials: complete, the same every time, and valid by the official schemas."""

import json
from pathlib import Path

import pytest

from minbuild.compliance.built_image import list_sources, open_built_image
from minbuild.compliance.cyclonedx import render_cyclonedx
from minbuild.compliance.spdx import render_spdx
from minbuild.errors import UsageError
from tests.unit.compliance.shipments import MODULE, PACKAGES, shipment

LICENCES = {
    "busybox": ("GPL-2.0-only",),
    "libuuid1": ("BSD-3-Clause", "LicenseRef-x OR MIT"),
    "linux-image": ("unknown",),
}
SERIAL = "3e671687-395b-41f5-a30f-a58921a69b79"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_cyclonedx_is_valid_by_its_schema(tmp_path: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = render_cyclonedx(shipment(tmp_path), LICENCES)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert text == render_cyclonedx(shipment(tmp_path), LICENCES)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_cyclonedx_names_every_package_and_file(tmp_path: Path) -> None:
    made = json.loads(render_cyclonedx(shipment(tmp_path), LICENCES))
    by_name = {one["name"]: one for one in made["components"]}
    assert sorted(by_name) == ["busybox", "libuuid1", "linux-image"]
    assert by_name["linux-image"]["evidence"]["occurrences"][0]["location"] == "/boot/vmlinuz-6.1"
    assert {"location": MODULE} in by_name["linux-image"]["evidence"]["occurrences"]
    assert by_name["busybox"]["purl"].startswith(
        "pkg:deb/debian/busybox@1:1.37.0-6%2Bb9?arch=amd64"
    )
    assert by_name["busybox"]["hashes"] == [{"alg": "SHA-256", "content": PACKAGES[0].sha256}]
    assert "licenses" not in by_name["linux-image"]
    needs = {one["ref"]: one.get("dependsOn", []) for one in made["dependencies"]}
    assert needs["image:tiny"] == ["deb:busybox", "deb:libuuid1", "deb:linux-image"]
    assert needs["deb:busybox"] == ["deb:libuuid1"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_spdx_is_valid(tmp_path: Path) -> None:
    from spdx_tools.spdx.parser.parse_anything import parse_file
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    sha1 = {"/usr/bin/busybox": "a" * 40, str(MODULE): "b" * 40}
    place = tmp_path / "bill.spdx.json"
    place.write_text(render_spdx(shipment(tmp_path), LICENCES, SERIAL, sha1))
    read = parse_file(str(place))
    assert validate_full_spdx_document(read) == []
    assert len(read.packages) == 4
    assert len(read.files) == 2


def test_spdx_names_categories_as_the_schema_of_2_3_does(tmp_path: Path) -> None:
    made = json.loads(render_spdx(shipment(tmp_path), LICENCES, SERIAL, {}))
    by_name = {one["name"]: one.get("externalRefs", []) for one in made["packages"]}
    categories = {name: [r["referenceCategory"] for r in refs] for name, refs in by_name.items()}
    assert categories.pop("tiny") == []
    assert categories == {one.name: ["PACKAGE-MANAGER"] for one in PACKAGES}


def test_a_signed_kernel_is_built_from_another_source() -> None:
    assert list_sources(PACKAGES[2]) == (("linux-signed-amd64", "6.1.9+1"), ("linux", "6.1.9-1"))
    assert list_sources(PACKAGES[1]) == (("util-linux", "2.41-5"),)


def test_a_directory_without_a_build_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no build directory"):
        open_built_image(tmp_path)
    shipment(tmp_path)
    (tmp_path / "other.lock").write_bytes((tmp_path / "tiny.lock").read_bytes())
    with pytest.raises(UsageError, match="2 locks"):
        open_built_image(tmp_path)
