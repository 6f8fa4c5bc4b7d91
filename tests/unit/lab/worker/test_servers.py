"""NTP answers of the lab."""

import struct

from minbuild.lab.worker.servers import NTP_ERA, make_ntp_answer


def test_the_clock_answers_clients_and_nobody_else() -> None:
    question = bytes([0x23]) + bytes(39) + b"client's"
    answer = make_ntp_answer(question, 1_500_000_000_250_000_000)
    assert len(answer) == 48
    assert answer[0] == 0x24
    assert answer[24:32] == b"client's"
    seconds, fraction = struct.unpack_from(">II", answer, 40)
    assert (seconds, fraction) == (1_500_000_000 + NTP_ERA, 1 << 30)
    assert make_ntp_answer(answer, 0) == b""
    assert make_ntp_answer(question[:47], 0) == b""
