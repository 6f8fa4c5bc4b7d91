"""HTTP server of the lab, read by Python's client."""

import http.client
import selectors
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from minbuild.lab.worker.servers import HttpServer
from tests.support.patience import PATIENCE


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[int, list[str]]]:
    (tmp_path / "host.efi").write_bytes(bytes(range(256)) * 5000)
    (tmp_path / "empty").touch()
    said: list[str] = []
    loop = selectors.DefaultSelector()
    web = HttpServer("127.0.0.1", tmp_path, loop, said.append, port=0)
    over = threading.Event()

    def turn() -> None:
        while not over.is_set():
            for key, _ in loop.select(0.05):
                key.data()

    thread = threading.Thread(target=turn)
    thread.start()
    yield web.port, said
    over.set()
    thread.join()
    for key in list(loop.get_map().values()):
        key.fileobj.close()  # type: ignore[union-attr]
    loop.close()


def ask(port: int, method: str, path: str) -> tuple[int, bytes, str | None]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    client.request(method, path)
    answer = client.getresponse()
    response = answer.status, answer.read(), answer.getheader("Content-Length")
    client.close()
    return response


def test_a_file_is_handed_out_whole(served: tuple[int, list[str]]) -> None:
    port, said = served
    assert ask(port, "HEAD", "/host.efi") == (200, b"", "1280000")
    assert ask(port, "GET", "/host.efi") == (200, bytes(range(256)) * 5000, "1280000")
    assert ask(port, "GET", "/empty") == (200, b"", "0")
    assert "http: GET /host.efi, 1280000 bytes" in said


def test_nothing_else_is_handed_out(served: tuple[int, list[str]]) -> None:
    port, said = served
    assert ask(port, "GET", "/../../etc/passwd")[0] == 404
    assert ask(port, "GET", "/")[0] == 404
    assert ask(port, "POST", "/host.efi")[0] == 405
    assert any("not found" in line for line in said)
