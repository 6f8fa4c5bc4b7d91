"""Protocol between worker and client: blocks and lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbuild.lab.worker.protocol import (
    BLOCK_HEAD,
    MAX_LINE,
    BlockDecoder,
    LineDecoder,
    Tag,
    WorkerPlan,
    clean_line,
    decode_plan,
    encode_plan,
)


@given(st.lists(st.tuples(st.sampled_from(list(Tag)), st.binary(max_size=40))), st.integers(1, 9))
def test_blocks_survive_any_cut(blocks: list[tuple[Tag, bytes]], step: int) -> None:
    stream = b"".join(BLOCK_HEAD.pack(tag.value, len(data)) + data for tag, data in blocks)
    reader = BlockDecoder()
    found = [
        block for at in range(0, len(stream), step) for block in reader.feed(stream[at : at + step])
    ]
    assert found == blocks


def test_a_plan_is_the_same_after_the_wire() -> None:
    plan = WorkerPlan("/w", True, {"A": "b"}, ("qemu", "-M"), (), ("ip",), 7, "192.0.2.1", False)
    assert decode_plan(encode_plan(plan)) == plan


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain\r", "plain"),
        (b"\x1b[2J\x1b[01;01Hminbuild: init: ready", "minbuild: init: ready"),
        (b"\x1bcx\x1b[", "x"),
        (b"a\tb\x00\xff", "a\tb\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_control_codes_of_the_console_are_left_out(raw: bytes, text: str) -> None:
    assert clean_line(raw) == text


@given(st.binary(max_size=60))
def test_any_bytes_of_the_console_make_lines(data: bytes) -> None:
    reader = LineDecoder()
    found = [*reader.feed(data), *reader.flush()]
    assert all("\x1b" not in line for line in found)


def test_a_line_without_an_end_is_cut_into_some() -> None:
    lines = LineDecoder()
    found = [text for _ in range(64) for text in lines.feed(b"x" * 5000)]
    assert [len(text) for text in found] == [MAX_LINE] * (64 * 5000 // MAX_LINE)
    assert sum(map(len, [*found, *lines.flush()])) == 64 * 5000
    assert list(LineDecoder().feed(b"y" * (2 * MAX_LINE) + b"\n\nz\n")) == [
        "y" * MAX_LINE, "y" * MAX_LINE, "", "z",
    ]  # fmt: skip
