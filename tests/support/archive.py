"""A Debian archive made of packages as text: indices, hashes and a signature, all real.

made = Archive(tmp_path)
made.publish("trixie", "Package: hello\n/usr/bin/hello 0755 file hi\n")
with serve(made.directory) as server:      # tests.support.server
    ...  mirror server.url + "/debian", certificate made.certificate
"""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path

from pysequoia import SignatureMode, Tsk, sign

from tests.support.deb import Deb, build, compress, parse, sha256

DATE = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
_FAR = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)


class Archive:
    """The trees `debian` and `debian-security` below a directory, and the key that signs them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key = Tsk.generate("Archive of a test <archive@example.org>")
        self.certificate = directory / "archive-key.asc"
        self.certificate.write_text(str(self.key.extract_certificate()))

    def publish(
        self,
        suite: str,
        packages: str | list[Deb],
        *,
        arch: str = "amd64",
        date: dt.datetime = DATE,
        valid_until: dt.datetime | None = _FAR,
        by_hash: bool = True,
        fields: Mapping[str, str] | None = None,
        damage: Mapping[str, str] | None = None,
        key: Tsk | None = None,
        ending: str = ".xz",
        folder: str = "",
        signed: bool = True,
        members: int = 1,
        lists: Mapping[str, str] | None = None,
    ) -> None:
        """Write one suite; again to replace it.

        `fields` replaces fields of the Release; `damage` replaces fields of every paragraph of
        the index (`{"SHA256": "0" * 64}`); `ending` is the index's compression, `folder` its place,
        `members` how many streams it is made of; `lists` are Contents files
        (`{"main/Contents-amd64": "usr/bin/hello  utils/hello\\n"}`).
        """
        tree = self.directory / ("debian-security" if suite.endswith("-security") else "debian")
        debs = parse(packages) if isinstance(packages, str) else packages
        paragraphs = [self._write_deb(tree, deb, damage or {}) for deb in debs]
        index = "\n".join(paragraphs).encode()
        folder = folder or f"main/binary-{arch}"
        contents = {f"{folder}/Packages": index}
        step = max(-(-len(index) // members), 1)
        parts = [index[at : at + step] for at in range(0, len(index), step)] or [b""]
        packed = b"".join(compress(part, ending[1:]) for part in parts)
        contents[f"{folder}/Packages{ending}"] = packed
        for name, data in contents.items():
            if name.endswith(ending):
                self._write(tree / "dists" / suite / name, data)
                path = tree / "dists" / suite / folder / "by-hash" / "SHA256" / sha256(data)
                if by_hash:
                    self._write(path, data)
        for name, text in (lists or {}).items():
            contents[f"{name}.gz"] = data = compress(text.encode(), "gz")
            self._write(tree / "dists" / suite / f"{name}.gz", data)
        rows = {"Origin": "Debian", "Label": "Debian", "Suite": suite, "Codename": suite}
        rows |= {"Date": _format_date(date)} | (
            {"Valid-Until": _format_date(valid_until)} if valid_until else {}
        )
        rows |= {"Acquire-By-Hash": "yes" if by_hash else "no", "Architectures": f"all {arch}"}
        rows |= {"Components": "main"} | dict(fields or {})
        text = "".join(f"{name}: {value}\n" for name, value in rows.items()) + "SHA256:\n"
        text += "".join(f" {sha256(d)} {len(d):>8} {n}\n" for n, d in sorted(contents.items()))
        release = text.encode()
        if signed:
            release = sign((key or self.key).signer(), release, mode=SignatureMode.CLEAR)
        self._write(tree / "dists" / suite / "InRelease", release)

    def find_deb(self, deb_name: str) -> Path:
        """Where the one .deb whose name starts so lies."""
        (result,) = self.directory.glob(f"*/pool/**/{deb_name}_*.deb")
        return result

    def _write_deb(self, tree: Path, deb: Deb, damage: Mapping[str, str]) -> str:
        data = build(deb)
        path = f"pool/main/{deb.name[0]}/{deb.name}/{deb.file_name}"
        self._write(tree / path, data)
        rows = {"Filename": path, "Size": str(len(data)), "SHA256": sha256(data)} | dict(damage)
        return deb.control + "".join(f"{name}: {value}\n" for name, value in rows.items())

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _format_date(when: dt.datetime) -> str:
    return when.strftime("%a, %d %b %Y %H:%M:%S UTC")
