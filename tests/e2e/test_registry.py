"""Hosts in Debian's own registry, by its API, and in the hands of the clients that others use."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.small_host import CommandResult, minbuild
from tests.support.published import DATE, make_image, write_build
from tests.support.registry import (
    PASSWORD,
    USER,
    RunningRegistry,
    run_client,
    serve_registry,
)

pytestmark = [pytest.mark.mirror, pytest.mark.xdist_group("registry")]
MORE = {"sbom.cdx.json": b'{"bomFormat": "CycloneDX"}', "provenance.json": b'{"_type": "x"}'}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with serve_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


def run(directory: Path, *argv: str, **env: str) -> CommandResult:
    """A command with a home and a store of its own: nobody's passwords, and no version seen before."""
    home = {
        "HOME": str(directory),
        "XDG_RUNTIME_DIR": str(directory / "run"),
        "MINBUILD_STORE": str(directory / "store"),
    }
    return minbuild(*argv, cwd=directory, env={**home, "NO_PROXY": "127.0.0.1", **env})


def push(directory: Path, address: str, *more: str) -> dict[str, Any]:
    ended = run(directory, "push", f"{address}/hosts/rack:7", *more, "--plain-http", "--json")
    assert ended.code == 0, ended.err
    told: dict[str, Any] = json.loads(ended.out)
    return told


def pull(directory: Path, reference: str, *more: str) -> dict[str, Any]:
    words = (
        "pull",
        reference,
        *more,
        "--plain-http",
        "--json",
        "--store",
        str(directory / "store"),
    )
    ended = run(directory, *words)
    assert ended.code == 0, ended.err
    told: dict[str, Any] = json.loads(ended.out)
    return told


def test_a_host_comes_back_bit_for_bit_with_what_refers_to_it(
    registry: RunningRegistry, tmp_path: Path
) -> None:
    build = write_build(tmp_path / "build", make_image(), more=MORE)
    assert run(tmp_path, "keygen", "k").code == 0
    told = push(tmp_path, registry.address, "build", "--sign", "k.sec")
    assert (told["host"], told["version"]) == ("rack", DATE)
    got = pull(tmp_path, f"{registry.address}/hosts/rack:7", "--key", "k.pub", "-o", "out", "--all", "--arch", "amd64")  # fmt: skip
    assert (tmp_path / "out/rack.efi").read_bytes() == (build / "rack.efi").read_bytes()
    assert got["key"]
    for name in (*MORE, "footprint.json"):
        assert (tmp_path / "out" / name).read_bytes() == (build / name).read_bytes()
    words = ("-V", "-p", tmp_path / "k.pub", "-x", tmp_path / "out/rack.recipe.sig", "-m", tmp_path / "out/rack.recipe")  # fmt: skip
    assert "Verified" in run_client("signify-openbsd", *words, home=tmp_path).stdout


def test_only_what_a_registry_lacks_is_sent(registry: RunningRegistry, tmp_path: Path) -> None:
    address = f"{registry.address}/lacks"
    write_build(tmp_path / "one", make_image(b"one"))
    write_build(tmp_path / "two", make_image(b"two"))
    first = push(tmp_path, address, "one", "--version", "1")["sent"]
    again = push(tmp_path, address, "one", "--version", "1")["sent"]
    second = push(tmp_path, address, "two", "--version", "2")
    changed = [part["size"] for part in second["hosts"][0]["parts"] if part["name"] in {"headers", "initrd", "end"}]  # fmt: skip
    footprint = (tmp_path / "two/footprint.json").stat().st_size
    manifests = 6000
    assert first > len(make_image(b"one"))
    assert again < manifests
    assert second["sent"] <= changed[0] + changed[1] + changed[-1] + footprint + manifests


def test_both_architectures_stand_under_one_tag(registry: RunningRegistry, tmp_path: Path) -> None:
    write_build(tmp_path / "a", make_image(b"amd64"))
    write_build(tmp_path / "b", make_image(b"arm64"), arch="arm64")
    address = f"{registry.address}/two"
    push(tmp_path, address, "a", "b")
    for arch in ("amd64", "arm64"):
        pull(tmp_path, f"{address}/hosts/rack:7", "--arch", arch, "-o", arch)
        assert (tmp_path / arch / "rack.efi").read_bytes() == make_image(arch.encode())
    ended = run(tmp_path, "pull", f"{address}/hosts/rack:7", "--arch", "riscv64", "--plain-http")
    assert ended.code == 4
    assert "--arch amd64 or arm64" in ended.err


def test_skopeo_inspects_and_copies_what_was_pushed(
    registry: RunningRegistry, tmp_path: Path
) -> None:
    write_build(tmp_path / "build", make_image())
    address = f"{registry.address}/skopeo"
    told = push(tmp_path, address, "build", "--layout", "layout")
    remote = f"docker://{address}/hosts/rack:7"
    raw = run_client("skopeo", "inspect", "--tls-verify=false", "--raw", remote, home=tmp_path)
    assert json.loads(raw.stdout)["manifests"][0]["platform"]["architecture"] == "amd64"
    said = run_client("skopeo", "list-tags", "--tls-verify=false", f"docker://{address}/hosts/rack", home=tmp_path)  # fmt: skip
    assert "7" in json.loads(said.stdout)["Tags"]
    copy = ("--insecure-policy", "copy", "--all", "--preserve-digests")
    run_client("skopeo", *copy, "--src-tls-verify=false", remote, f"oci:{tmp_path}/copied:7", home=tmp_path)  # fmt: skip
    index = json.loads((tmp_path / "copied/index.json").read_text())
    assert index["manifests"][0]["digest"] == told["digest"]
    back = f"docker://{address}/hosts/rack:copied"
    run_client("skopeo", *copy, "--dest-tls-verify=false", f"oci:{tmp_path}/layout:7", back, home=tmp_path)  # fmt: skip
    pull(tmp_path, f"{address}/hosts/rack:copied", "--arch", "amd64", "-o", "out")
    assert (tmp_path / "out/rack.efi").read_bytes() == make_image()
    pull(tmp_path, f"oci:{tmp_path}/copied:7", "--arch", "amd64", "-o", "other")
    assert (tmp_path / "other/rack.efi").read_bytes() == make_image()


def test_oras_pulls_the_parts_and_lists_what_refers_to_them(
    registry: RunningRegistry, tmp_path: Path
) -> None:
    write_build(tmp_path / "build", make_image(), more=MORE)
    address = f"{registry.address}/oras"
    assert run(tmp_path, "keygen", "k").code == 0
    push(tmp_path, address, "build", "--sign", "k.sec")
    reference = f"{address}/hosts/rack:7"
    run_client("oras", "pull", "--plain-http", "--platform", "linux/amd64", "-o", tmp_path / "out", reference, home=tmp_path)  # fmt: skip
    parts = sorted((tmp_path / "out/rack.efi.d").iterdir())
    assert b"".join(part.read_bytes() for part in parts) == make_image()
    found = run_client("oras", "discover", "--plain-http", "--platform", "linux/amd64", "--format", "json", reference, home=tmp_path)  # fmt: skip
    for media_type in (
        "signature.v1",
        "footprint.v1+json",
        "vnd.cyclonedx+json",
        "vnd.in-toto+json",
    ):
        assert media_type in found.stdout


def test_with_tls_a_password_is_taken_from_podman_s_file(tmp_path: Path) -> None:
    write_build(tmp_path / "build", make_image())
    with serve_registry(tmp_path / "registry", tls=True) as running:
        reference = f"{running.address}/rack:7"
        trust = {"REQUESTS_CA_BUNDLE": str(running.certificate)}
        untrusted = run(tmp_path, "push", reference, "build")
        assert untrusted.code == 4
        assert "certificate" in untrusted.err.lower()
        ended = run(tmp_path, "push", reference, "build", **trust)
        assert ended.code == 4
        assert "podman login" in ended.err
        file = tmp_path / "run/containers/auth.json"
        file.parent.mkdir(parents=True)
        for password, code in (("wrong", 4), (PASSWORD, 0)):
            token = base64.b64encode(f"{USER}:{password}".encode()).decode()
            file.write_text(json.dumps({"auths": {running.address: {"auth": token}}}))
            ended = run(tmp_path, "push", reference, "build", **trust)
            assert ended.code == code, ended.err
            assert PASSWORD not in ended.err
        words = ("pull", reference, "-o", "out", "--arch", "amd64", "--store", "store")
        assert run(tmp_path, *words, **trust).code == 0
    assert (tmp_path / "out/rack.efi").read_bytes() == make_image()


def test_any_web_server_serves_a_layout_that_oras_and_skopeo_read(tmp_path: Path) -> None:
    write_build(tmp_path / "build", make_image())
    ended = run(tmp_path, "push", f"oci:{tmp_path}/layout:7", "build")
    assert ended.code == 0, ended.err
    raw = run_client("skopeo", "inspect", "--raw", f"oci:{tmp_path}/layout:7", home=tmp_path)
    assert json.loads(raw.stdout)["schemaVersion"] == 2
    run_client("oras", "pull", "--oci-layout", "--platform", "linux/amd64", "-o", tmp_path / "out", f"{tmp_path}/layout:7", home=tmp_path)  # fmt: skip
    parts = sorted((tmp_path / "out/rack.efi.d").iterdir())
    assert b"".join(part.read_bytes() for part in parts) == make_image()
