"""Elements as a test writes them."""

from pathlib import Path


def element(directory: Path, name: str, **files: str) -> None:
    """Write an element: `post_root__50_x="…"` is its script post-root.d/50-x."""
    for target, text in files.items():
        phase, _, script = target.replace("_", "-").partition("--")
        path = directory / name / (f"{phase}.d/{script}" if script else phase)
        path.parent.mkdir(parents=True, exist_ok=True)
        head = "#!/bin/bash\nset -eu -o pipefail\n" if script else ""
        path.write_text(f"{head}{text}\n" if script else text, encoding="utf-8")
        path.chmod(0o755 if script else 0o644)
