"""Who has the firmware that modules lack, against a real archive on loopback."""

from pathlib import Path

import pytest

from minbuild.errors import ResolveError
from minbuild.manifest.loader import read_manifest
from minbuild.pipeline.lock_creation import load_or_select_lock
from minbuild.pipeline.session import BuildRequest, Session
from tests.cases.outcome import HEAD, HERE
from tests.support.archive import Archive
from tests.support.server import serve

CARDS = """
Package: linux
Version: 6.1
/boot/vmlinuz-6.1 file "MZ kernel"
/boot/config-6.1 file "CONFIG_INET=y\\n"
/usr/lib/modules/6.1/kernel/card.ko module name=card firmware=card/a-1.fw firmware=card/a-2.fw firmware=card/a-x.fw
/usr/lib/modules/6.1/kernel/lone.ko module name=lone firmware=lone/only.fw
/usr/lib/modules/6.1/kernel/none.ko module name=none firmware=zero.fw firmware=one.fw
"""
LISTS = {
    "non-free-firmware/Contents-all": "".join(
        f"usr/lib/firmware/{name}  non-free-firmware/kernel/firmware-{name.partition('/')[0]}\n"
        for name in ("card/a-1.fw", "card/a-2.fw", "card/a-x.fw", "lone/only.fw")
    ),
    "main/Contents-amd64": "usr/bin/hello  utils/hello\n",
}


def test_the_firmware_of_one_module_that_one_package_has_is_one_error(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    base = (HERE / "base.txt").read_text()
    others = base[base.index("Package: libc6") :]
    archive.publish("trixie", CARDS + "\n" + others, lists=LISTS)
    place = tmp_path / "a/host.yaml"
    place.parent.mkdir()
    place.write_text(
        HEAD + "kernel: {package: linux, modules: [card, lone, none]}\n"
        "allow-missing: [{path: /never, because: no}]\n"
    )
    doors = Session(tmp_path / "store")
    manifest = read_manifest(place, settings={}, components=[])
    with serve(tmp_path) as server:
        request = BuildRequest(place, mirror=(f"{server.url}/debian",))
        with pytest.raises(ResolveError) as caught:
            load_or_select_lock(request, manifest, doors)
    doors.close()
    whats = [one.what for one in (caught.value, *caught.value.also)]
    fixes = [one.fix for one in (caught.value, *caught.value.also)]
    lists = "in non-free-firmware, which `archive.components` does not list"
    assert whats[0] == (f"firmware card/a-1.fw and 2 more (card/a-*) are in firmware-card, {lists}")
    assert 'allow-missing: [{path: "card/a-*", because: …}]' in fixes[0]
    assert whats[1] == f"firmware lone/only.fw is in firmware-lone, {lists}"
    assert whats[2].startswith("firmware one.fw, zero.fw are in no package of trixie")
    assert whats[3:] == ["nothing needs the waiver for /never any more"]
