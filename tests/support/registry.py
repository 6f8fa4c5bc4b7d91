"""Debian's docker-registry on loopback, and the clients that others use with it."""

import contextlib
import datetime as dt
import functools
import ipaddress
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from minbuild.toolbox.toolbox import Toolbox
from tests.support.real_archive import make_toolbox, open_real_archive
from tests.unit.toolbox import real

PROGRAMS = ("docker-registry", "skopeo", "oras", "signify-openbsd")
"""Each is a package of its name with a program of its name."""
USER, PASSWORD = "publisher", "rack-and-pinion"
HTPASSWD = f"{USER}:$2b$05$TtisIYCjzmXgY1LfpR8qxu9uJVCyV9gJ4fMqgfWnuOBQcyDOnpTOG\n"
"""The password by bcrypt, as htpasswd -B writes it."""
SECONDS = 20


@functools.cache
def registry_toolbox() -> Toolbox:
    """The registry and its clients, of packages of the machine's mirror."""
    tools = [real.oracle(name, name) for name in PROGRAMS]
    return make_toolbox(tools, open_real_archive(real.store()), epoch=real.EPOCH)


def run_client(
    name: str, *args: str | Path, home: Path, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a client of the archive, with its own home directory."""
    box = registry_toolbox()
    env = {**box.build_environment(), "HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
    words = [*box.build_argv(name), *map(str, args)]
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert done.returncode == 0 or not check, done.stderr
    return done


@dataclass(frozen=True, slots=True)
class RunningRegistry:
    """A registry that answers."""

    address: str
    """127.0.0.1:PORT"""
    certificate: Path | None
    log: Path

    def read_log(self) -> str:
        """What was asked of it."""
        return self.log.read_text()


@contextlib.contextmanager
def serve_registry(directory: Path, *, tls: bool = False) -> Iterator[RunningRegistry]:
    """Run docker-registry until the end of the block; with `tls` also with a password."""
    directory.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    lines = ["version: 0.1", "storage:", f"  filesystem: {{rootdirectory: {directory / 'data'}}}",
             "http:", f"  addr: {address}"]  # fmt: skip
    certificate = None
    if tls:
        certificate, key = write_certificate(directory)
        (directory / "htpasswd").write_text(HTPASSWD)
        lines += [f"  tls: {{certificate: {certificate}, key: {key}}}", "auth:",
                  f"  htpasswd: {{realm: hosts, path: {directory / 'htpasswd'}}}"]  # fmt: skip
    (directory / "config.yml").write_text("\n".join(lines) + "\n")
    box = registry_toolbox()
    argv = [*box.build_argv("docker-registry"), "serve", str(directory / "config.yml")]
    log = directory / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            argv, env=box.build_environment(), stdout=out, stderr=out, start_new_session=True
        )
    try:
        _wait(address, certificate, process, log)
        yield RunningRegistry(address, certificate, log)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(SECONDS)


def _wait(
    address: str, certificate: Path | None, process: "subprocess.Popen[bytes]", log: Path
) -> None:
    scheme = "https" if certificate else "http"
    with urllib3.PoolManager(ca_certs=str(certificate) if certificate else None) as pool:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                pool.request("GET", f"{scheme}://{address}/v2/", retries=False)
                return
            time.sleep(0.05)
    raise AssertionError(log.read_text())


def write_certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry of the tests")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "registry.crt", directory / "registry.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths
