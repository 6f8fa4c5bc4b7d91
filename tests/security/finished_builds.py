"""A build as it is handed over: an image, its footprint and lock, sums, made by hand."""

import json
from pathlib import Path
from typing import Any

from minbuild.footprint import document
from minbuild.image.publish import open_outputs
from minbuild.pipeline.attestation import collect_inputs
from minbuild.pipeline.load import load_manifest
from minbuild.pipeline.session import BuildRequest
from tests.e2e.small_host import Small
from tests.oracle.cpios import archive, directory, file
from tests.security.world import run
from tests.support.measured_inputs import measure_input
from tests.support.uki import uki

FILES = [directory(b"usr"), file(b"usr/hello", b"hello", 0o755)]
IMAGE = uki(
    {".linux": b"K" * 600, ".uname": b"6.1", ".cmdline": b"quiet", ".initrd": archive(FILES)}
)


def make_outputs(small: Small, image: bytes = IMAGE) -> Path:
    """The small host's outputs, as a build leaves them: every file is of the package hello."""
    assert run(small, "lock", "small.yaml").code == 0
    request = BuildRequest(manifest=small.directory / "small.yaml")
    manifest = load_manifest(request)
    path = small.directory / "build" / "small"
    work = small.directory / "small.efi"
    work.write_bytes(image)
    told: dict[str, Any] = json.loads(document.render_footprint(measure_input(str(work))))
    work.unlink()
    for row in told["files"]:
        row["package"] = "hello"
    for row in told["packages"]:
        if not row["name"]:
            row |= {"name": "hello", "version": "1.0"}
    inputs = collect_inputs(request, manifest)
    told["inputs"] = {
        "arch": inputs.arch, "cell": inputs.cell, "compression": inputs.compression,
        "formats": list(inputs.formats), "settings": inputs.settings,
        "files": [{"uri": one.uri, "sha256": one.sha256} for one in inputs.files],
    }  # fmt: skip
    with open_outputs(path) as outputs:
        outputs.path("small.efi").write_bytes(image)
        outputs.path("small.lock").write_bytes((small.directory / "small.lock").read_bytes())
        outputs.path("footprint.json").write_text(json.dumps(told))
        outputs.publish()
    return path


def rewrite_sums(path: Path, *names: str) -> None:
    """Write the sums of outputs that were changed, as whoever changed them would."""
    with open_outputs(path) as outputs:
        for name in names or ("small.efi", "small.lock", "footprint.json"):
            outputs.path(name).write_bytes((path / name).read_bytes())
        outputs.publish()
