"""What was read to make a manifest, with digests: so a caller can tell that nothing changed."""

import hashlib
from pathlib import Path

from minbuild.manifest.problems import Problems, suggestion
from minbuild.manifest.types import Where


class Inputs:
    """Reads files of the build machine and remembers each one's SHA-256."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self._digests: dict[str, str] = {}

    def read(self, path: Path, where: Where | str = "") -> bytes | None:
        """The file's bytes; None when it is not there, or cannot be read (a problem at `where`)."""
        key = str(path.absolute())
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            self._digests[key] = ""
            return None
        except OSError as error:
            about = f"{shown(path)} cannot be read: {error.strerror}"
            self.problems.add(about, where, "name a file that you may read")
            return None
        self._digests[key] = hashlib.sha256(data).hexdigest()
        return data

    def wanted(self, path: Path, where: Where) -> bytes | None:
        """The file's bytes; a problem at `where` when it is not there, with the nearest name."""
        data = self.read(path, where)
        if data is None and self._digests.get(str(path.absolute())) == "":
            fix = suggestion(path.name, _beside(path), otherwise=f"write {shown(path)}")
            self.problems.add(f"there is no file {shown(path)}", where, fix)
        return data

    @property
    def digests(self) -> dict[str, str]:
        """Absolute path → SHA-256, or "" where no file was; sorted."""
        return dict(sorted(self._digests.items()))


def shown(path: Path) -> str:
    """A path as errors name it: relative when it lies below the current directory."""
    if not path.is_absolute():
        return str(path)
    current = Path.cwd()
    return str(path.relative_to(current) if path.is_relative_to(current) else path)


def _beside(path: Path) -> list[str]:
    """Names of the files in the directory where `path` should be; none if there are very many."""
    try:
        found = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return []
    return found if len(found) < 1000 else []
