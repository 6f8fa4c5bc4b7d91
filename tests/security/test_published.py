"""A registry or mirror that lies, withholds or goes back: each is told apart, and nothing is written.

The attacker has the registry, here an OCI layout, and every host that its publisher ever signed; not
the publisher's key.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minbuild.cache.store import Store
from minbuild.distribution.model import (
    HOST_TYPE,
    MANIFEST_TYPE,
    PART_TYPE,
    SIGNATURE_TYPE,
    Descriptor,
    ForeignContent,
    PartMissing,
    compute_digest,
)
from minbuild.distribution.oci_layout import Layout
from minbuild.distribution.recipe import DamagedRecipe
from minbuild.distribution.reference import parse_reference
from minbuild.distribution.retrieval import (
    RecipeExpired,
    RolledBack,
    UnsignedHost,
    VersionReused,
    WrongHost,
)
from minbuild.distribution.signify import (
    BadSignature,
    UnknownSigner,
    generate_keys,
    read_public_key,
    read_secret_key,
)
from minbuild.errors import ArchiveError, MinbuildError, UsageError
from minbuild.pipeline.push_pull import (
    PullRequest,
    PullResult,
    PushRequest,
    PushResult,
    pull_host,
    push_builds,
)
from minbuild.progress import SilentProgress
from tests.support.published import DATE, make_image, write_build

NOW = DATE + 1000
EXPIRES = NOW + 1000


class Publisher:
    """A publisher with two keys, a layout as the registry, and a client that knows the first key."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.layout = directory / "layout"
        self.store = Store(directory / "store")
        for name in ("first", "second", "stranger"):
            generate_keys(directory / f"{name}.pub", directory / f"{name}.sec")

    def push(
        self, text: bytes = b"one", *, version: int = 7, tag: str = "7", name: str = "rack",
        keys: tuple[str, ...] = ("first",), expires: int = EXPIRES, layout: Path | None = None,
        arch: str = "amd64",
    ) -> PushResult:  # fmt: skip
        build = write_build(
            self.directory / f"build-{text.hex()}-{arch}", make_image(text), arch=arch
        )
        request = PushRequest(
            parse_reference(f"oci:{layout or self.layout}:{tag}"), (build,), name=name, version=version,
            expires=expires, keys=tuple(read_secret_key(self.directory / f"{key}.sec") for key in keys),
        )  # fmt: skip
        return push_builds(request, {}, SilentProgress())

    def pull(
        self, *, tag: str = "7", keys: tuple[str, ...] = ("first",), now: int = NOW, name: str = "rack",
        allow_downgrade: bool = False, layout: Path | None = None,
    ) -> PullResult:  # fmt: skip
        request = PullRequest(
            parse_reference(f"oci:{layout or self.layout}:{tag}"), self.directory / "out", "amd64", name,
            tuple(read_public_key(self.directory / f"{key}.pub") for key in keys), now,
            allow_downgrade=allow_downgrade,
        )  # fmt: skip
        return pull_host(request, self.store, {}, SilentProgress())

    def refuse(self, error: type[MinbuildError], **options: Any) -> str:
        """A pull that fails with exactly this error, and leaves what was there."""
        out = self.directory / "out"
        before = {path.name: path.read_bytes() for path in out.iterdir()} if out.is_dir() else {}
        with pytest.raises(error) as caught:
            self.pull(**options)
        assert type(caught.value) is error
        assert caught.value.fix
        after = {path.name: path.read_bytes() for path in out.iterdir()} if out.is_dir() else {}
        assert after == before
        return caught.value.what

    def find_part(self, media_type: str, number: int = 0) -> Path:
        """Where the layout keeps a layer of one type."""
        for blob in sorted((self.layout / "blobs/sha256").iterdir()):
            if blob.read_bytes()[:1] == b"{":
                layers = json.loads(blob.read_bytes()).get("layers", [])
                found = [layer for layer in layers if layer["mediaType"] == media_type]
                if found:
                    name: str = found[number]["digest"].partition(":")[2]
                    return blob.with_name(name)
        raise LookupError(media_type)

    def rewrite(self, change: Callable[[bytes], bytes]) -> None:
        """Give a changed recipe with the old signature, every digest of the registry's made to fit."""
        layout = Layout(self.layout)
        top = layout.find_tag("7")
        index = json.loads(layout.read_manifest(top.digest))
        host = json.loads(layout.read_manifest(index["manifests"][0]["digest"]))
        recipe = (self.layout / "blobs/sha256" / host["layers"][0]["digest"][7:]).read_bytes()
        changed = change(recipe)
        assert changed != recipe
        layout.add_blob(changed)
        host["layers"][0] |= {"digest": compute_digest(changed), "size": len(changed)}
        manifest = json.dumps(host).encode()
        described = Descriptor(
            MANIFEST_TYPE, compute_digest(manifest), len(manifest), {}, HOST_TYPE
        )
        layout.add_manifest(manifest, described, "7")
        for referrer in layout.list_referrers(index["manifests"][0]["digest"]):
            document = json.loads(layout.read_manifest(referrer.digest))
            document["subject"] |= {"digest": described.digest, "size": described.size}
            data = json.dumps(document).encode()
            layout.add_manifest(
                data,
                Descriptor(
                    MANIFEST_TYPE, compute_digest(data), len(data), {}, referrer.artifact_type
                ),
            )


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path)


def test_what_was_signed_is_written_bit_for_bit(publisher: Publisher) -> None:
    publisher.push()
    result = publisher.pull()
    assert result.files[0].read_bytes() == make_image(b"one")
    assert result.signer is not None
    assert result.signer.where.endswith("first.pub")
    assert result.fetched == len(make_image(b"one"))


def test_of_another_version_only_what_changed_is_fetched(publisher: Publisher) -> None:
    publisher.push()
    publisher.pull()
    publisher.push(b"two", version=8, tag="8")
    result = publisher.pull(tag="8")
    assert result.files[0].read_bytes() == make_image(b"two")
    changed = [
        part.size for part in result.recipe.parts if part.name in {"initrd", "headers", "end"}
    ]
    assert 0 < result.fetched <= changed[0] + changed[1] + changed[-1]


# it lies


@pytest.mark.parametrize("number", range(8))
def test_lies_about_the_bytes_of_a_part(publisher: Publisher, number: int) -> None:
    publisher.push()
    part = publisher.find_part(PART_TYPE, number)
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    publisher.refuse(ForeignContent)


def test_lies_about_the_recipe_s_bytes(publisher: Publisher) -> None:
    publisher.push()
    publisher.rewrite(lambda recipe: recipe.replace(b"version 7", b"version 9"))
    assert "not what key" in publisher.refuse(BadSignature)


def test_lies_about_the_parts_of_a_signed_recipe(publisher: Publisher) -> None:
    """Another kernel in the place of the signed one, with a recipe made to fit."""
    publisher.push()
    other = b"M" * 6144
    Layout(publisher.layout).add_blob(other)
    kernel = publisher.find_part(PART_TYPE, 3)

    def change(recipe: bytes) -> bytes:
        return recipe.replace(kernel.name.encode(), hashlib.sha256(other).hexdigest().encode())

    publisher.rewrite(change)
    publisher.refuse(BadSignature)


def test_signs_by_a_key_of_its_own(publisher: Publisher) -> None:
    publisher.push(keys=("stranger",))
    assert "believed are" in publisher.refuse(UnknownSigner)


def test_signs_nothing(publisher: Publisher) -> None:
    publisher.push(keys=())
    publisher.refuse(UnsignedHost)


def test_gives_a_signature_that_is_damaged(publisher: Publisher) -> None:
    publisher.push()
    publisher.find_part(SIGNATURE_TYPE).write_bytes(b"x")
    publisher.refuse(ForeignContent)


def test_gives_another_host_that_its_publisher_signed(publisher: Publisher) -> None:
    publisher.push(name="edge")
    assert "edge, not rack" in publisher.refuse(WrongHost)


def test_gives_another_architecture_under_a_wrong_name(publisher: Publisher) -> None:
    publisher.push(arch="arm64")
    layout = Layout(publisher.layout)
    index = json.loads(layout.read_manifest("7"))
    index["manifests"][0]["platform"]["architecture"] = "amd64"
    data = json.dumps(index).encode()
    layout.add_manifest(data, Descriptor(index["mediaType"], compute_digest(data), len(data)), "7")
    assert "arm64, not amd64" in publisher.refuse(WrongHost)


@pytest.mark.parametrize(
    "recipe", [b"", b"{}", b"minbuild-recipe 1\n", b"minbuild-recipe 1\nname rack\n" * 5000]
)
def test_gives_what_is_no_recipe(publisher: Publisher, recipe: bytes) -> None:
    publisher.push()
    publisher.rewrite(lambda _: recipe)
    expected: type[MinbuildError] = ArchiveError if len(recipe) > 1 << 16 else DamagedRecipe
    publisher.refuse(expected)


# it withholds


@pytest.mark.parametrize("number", [0, 3, 6])
def test_withholds_a_part(publisher: Publisher, number: int) -> None:
    publisher.push()
    publisher.find_part(PART_TYPE, number).unlink()
    publisher.refuse(PartMissing)


def test_withholds_the_signature(publisher: Publisher) -> None:
    publisher.push()
    publisher.find_part(SIGNATURE_TYPE).unlink()
    publisher.refuse(PartMissing)


def test_withholds_every_later_version(publisher: Publisher) -> None:
    """It gives for ever what was signed once: until its time has passed."""
    publisher.push()
    publisher.pull(now=EXPIRES)
    assert "to be believed until" in publisher.refuse(RecipeExpired, now=EXPIRES + 1)


# it goes back


def test_goes_back_to_a_version_that_was_signed_once(publisher: Publisher) -> None:
    publisher.push()
    publisher.push(b"two", version=8, tag="8")
    publisher.pull(tag="8")
    assert "older than 8" in publisher.refuse(RolledBack, tag="7")
    assert publisher.pull(tag="7", allow_downgrade=True).recipe.version == 7


def test_goes_back_at_another_address(publisher: Publisher, tmp_path: Path) -> None:
    """The client remembers the key, not the mirror."""
    publisher.push()
    shutil.copytree(publisher.layout, tmp_path / "mirror")
    publisher.push(b"two", version=8, tag="8")
    publisher.pull(tag="8")
    publisher.refuse(RolledBack, layout=tmp_path / "mirror")


def test_goes_back_while_keys_change(publisher: Publisher) -> None:
    publisher.push(keys=("first",))
    publisher.push(b"two", version=8, tag="8", keys=("first", "second"))
    publisher.pull(tag="8", keys=("first", "second"))
    publisher.refuse(RolledBack, keys=("first",))


def test_gives_two_files_of_one_version(publisher: Publisher, tmp_path: Path) -> None:
    publisher.push()
    publisher.push(b"two", layout=tmp_path / "other")
    publisher.pull()
    publisher.refuse(VersionReused, layout=tmp_path / "other")


def test_without_a_key_the_address_is_remembered(publisher: Publisher) -> None:
    publisher.push(version=8, tag="8", keys=())
    publisher.push(b"two", version=7, keys=())
    publisher.pull(tag="8", keys=())
    publisher.refuse(RolledBack, keys=())


# keys change


def test_both_keys_sign_until_every_client_has_the_new_one(publisher: Publisher) -> None:
    publisher.push(keys=("first", "second"))
    assert publisher.pull(keys=("first",)).signer == read_public_key(
        publisher.directory / "first.pub"
    )
    second = publisher.pull(keys=("second",)).signer
    assert second == read_public_key(publisher.directory / "second.pub")
    publisher.push(b"two", version=8, tag="8", keys=("second",))
    publisher.refuse(UnknownSigner, tag="8", keys=("first",))
    assert publisher.pull(tag="8", keys=("first", "second")).recipe.version == 8


# the publisher errs


def test_a_publisher_cannot_give_a_tag_an_older_version_or_the_same_number(
    publisher: Publisher,
) -> None:
    publisher.push(version=8)
    with pytest.raises(RolledBack):
        publisher.push(b"two", version=7)
    with pytest.raises(VersionReused, match="was another file"):
        publisher.push(b"two", version=8)
    assert publisher.push(version=8, expires=EXPIRES + 500).hosts[0].recipe.version == 8


def test_a_build_that_was_changed_is_not_published(publisher: Publisher) -> None:
    build = write_build(publisher.directory / "build", make_image())
    (build / "rack.efi").write_bytes(make_image(b"evil"))
    request = PushRequest(parse_reference(f"oci:{publisher.layout}:7"), (build,))
    with pytest.raises(UsageError, match="not what SHA256SUMS says"):
        push_builds(request, {}, SilentProgress())


def test_the_version_in_the_image_is_the_one_that_is_published(publisher: Publisher) -> None:
    image = make_image(osrel=b'ID=minbuild\nIMAGE_VERSION="12"\n')
    build = write_build(publisher.directory / "build", image)
    request = PushRequest(parse_reference(f"oci:{publisher.layout}:12"), (build,))
    assert push_builds(request, {}, SilentProgress()).hosts[0].recipe.version == 12
    with pytest.raises(UsageError, match="is version 12, not 13"):
        push_builds(replace(request, version=13), {}, SilentProgress())


def test_a_layout_that_is_none_is_told(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    publisher.refuse(ArchiveError, layout=tmp_path / "empty")
    publisher.push()
    assert "no host 9" in publisher.refuse(PartMissing, tag="9")
