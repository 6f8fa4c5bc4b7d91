"""What processes that were forked from one tell each other: which contents are sound."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from minbuild.cache.store import SLOTS, Store, VerifiedDigests

ONE, OTHER = hashlib.sha256(b"one").hexdigest(), hashlib.sha256(b"other").hexdigest()


def in_a_fork(work: Callable[[], bool]) -> bool:
    """What some work says in a process that is forked for it."""
    child = os.fork()
    if not child:
        os._exit(not work())
    return os.waitpid(child, 0)[1] == 0


def told(checked: VerifiedDigests, sha256: str) -> bool:
    checked.add(sha256)
    return sha256 in checked


def test_what_a_fork_found_is_known_to_the_others() -> None:
    checked = VerifiedDigests()
    checked.share_with_forks()
    assert in_a_fork(lambda: told(checked, ONE))
    assert ONE in checked
    assert OTHER not in checked
    assert in_a_fork(lambda: ONE in checked and OTHER not in checked)


def test_what_was_not_shared_stays_where_it_was_found() -> None:
    checked = VerifiedDigests()
    assert in_a_fork(lambda: told(checked, ONE))
    assert ONE not in checked


def test_what_was_found_damaged_is_looked_at_again_by_all() -> None:
    checked = VerifiedDigests()
    checked.share_with_forks()
    checked.add(ONE)
    checked.discard(ONE)
    assert ONE not in checked
    assert in_a_fork(lambda: ONE not in checked)


def test_there_is_always_room_for_the_last() -> None:
    checked = VerifiedDigests()
    checked.share_with_forks()
    digests = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(3 * SLOTS)]

    def find_all() -> bool:
        for digest in digests:
            checked.add(digest)
        return all(digest in checked for digest in digests)

    assert in_a_fork(find_all)
    known = [digest for digest in digests if digest in checked]
    assert digests[-1] in known
    assert SLOTS // 2 < len(known) <= SLOTS


def test_a_content_is_read_by_the_first_of_several_processes_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = store.add(b"content")
    place = store.path(digest)
    assert place is not None
    store.close_this_thread()
    store.verified.share_with_forks()
    assert in_a_fork(lambda: store.find_verified(digest) == place)
    place.unlink()
    place.write_bytes(b"other bytes")
    assert store.find_verified(digest) == place
    assert Store(tmp_path).find_verified(digest) is None
