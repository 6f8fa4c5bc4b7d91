"""What a manifest keeps and a document drops."""

import pytest

from minbuild.errors import ManifestError
from minbuild.pipeline.load import load_manifest
from minbuild.pipeline.session import BuildRequest
from tests.unit.manifest.conftest import Desk, desk  # noqa: F401

KEEP = "keep: [{package: xx, paths: [/usr/share/x]}]\n"
DROP = "drop: [{path: '%s', because: no}, {path: /usr/share/y, because: no}]\n"
HEAD = "minbuild: 1\nkernel: {package: linux}\n"


def dropped(desk: Desk, base: str, own: str) -> list[str]:  # noqa: F811
    desk.write({"base.yaml": HEAD + base, "host.yaml": "minbuild: 1\nextends: [base.yaml]\n" + own})
    return [
        waiver.path for waiver in load_manifest(BuildRequest(desk.directory / "host.yaml")).drop
    ]


def test_the_manifests_own_keep_holds_against_what_it_extends(desk: Desk) -> None:  # noqa: F811
    assert dropped(desk, DROP % "/usr/share/x", KEEP) == ["/usr/share/y"]


def test_its_own_drop_holds_too(desk: Desk) -> None:  # noqa: F811
    assert dropped(desk, KEEP, DROP % "/usr/share/x") == ["/usr/share/x", "/usr/share/y"]
    assert dropped(desk, KEEP, DROP % "/usr/share/*") == ["/usr/share/*", "/usr/share/y"]


@pytest.mark.parametrize(
    ("base", "own"),
    [
        ("", KEEP + DROP % "/usr/share/x"),
        ("", KEEP + DROP % "/usr/share/*"),
        (KEEP + DROP % "/usr/share/x", ""),
        (DROP % "/usr/share/*", KEEP),
    ],
)
def test_what_one_document_or_a_glob_says_both_ways_is_an_error(
    base: str,
    own: str,
    desk: Desk,  # noqa: F811
) -> None:
    with pytest.raises(ManifestError, match=r"/usr/share/x is kept, and drop: /usr/share/"):
        dropped(desk, base, own)
