"""A build as it is handed over: an image, its footprint and lock, sums, made by hand."""

import json
from pathlib import Path
from typing import Any

from minbuild.build import life
from minbuild.build.inputs import inputs_of
from minbuild.build.request import Request
from minbuild.footprint import document
from minbuild.image.outputs import open_outputs
from tests.oracle.cpios import archive, directory, file
from tests.support.subjects import open_subject
from tests.support.uki import uki
from tests.trust.world import run
from tests.whole.small import Small

FILES = [directory(b"usr"), file(b"usr/hello", b"hello", 0o755)]
IMAGE = uki(
    {".linux": b"K" * 600, ".uname": b"6.1", ".cmdline": b"quiet", ".initrd": archive(FILES)}
)


def build(small: Small, image: bytes = IMAGE) -> Path:
    """The small host's outputs, as a build leaves them: every file is of the package hello."""
    assert run(small, "lock", "small.yaml").code == 0
    request = Request(manifest=small.directory / "small.yaml")
    manifest = life.read(request)
    place = small.directory / "build" / "small"
    work = small.directory / "small.efi"
    work.write_bytes(image)
    told: dict[str, Any] = json.loads(document.render(open_subject(str(work))))
    work.unlink()
    for row in told["files"]:
        row["package"] = "hello"
    for row in told["packages"]:
        if not row["name"]:
            row |= {"name": "hello", "version": "1.0"}
    inputs = inputs_of(request, manifest)
    told["inputs"] = {
        "arch": inputs.arch, "cell": inputs.cell, "compression": inputs.compression,
        "formats": list(inputs.formats), "settings": inputs.settings,
        "files": [{"uri": one.uri, "sha256": one.sha256} for one in inputs.files],
    }  # fmt: skip
    with open_outputs(place) as outputs:
        outputs.place("small.efi").write_bytes(image)
        outputs.place("small.lock").write_bytes((small.directory / "small.lock").read_bytes())
        outputs.place("footprint.json").write_text(json.dumps(told))
        outputs.publish()
    return place


def again(place: Path, *names: str) -> None:
    """Write the sums of outputs that were changed, as whoever changed them would."""
    with open_outputs(place) as outputs:
        for name in names or ("small.efi", "small.lock", "footprint.json"):
            outputs.place(name).write_bytes((place / name).read_bytes())
        outputs.publish()
