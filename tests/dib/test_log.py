"""Which lines of dib's log are shown when it fails."""

from minbuild.dib.disk_image_create import find_error_lines


def test_the_machine_s_own_words_are_no_blame() -> None:
    log = [
        "builder: started",
        "/job/tmp/hooks/root.d/10-x: line 3: frobnicate: command not found",
        "builder: disk-image-create ended with 127",
        "builder: done",
        "[   61.294417] reboot: Power down",
    ]
    assert find_error_lines(log) == log[1]


def test_what_ends_the_machine_is_blamed() -> None:
    panic = "[    2.1] Kernel panic - not syncing: Attempted to kill init!"
    assert find_error_lines(["builder: started", panic]) == panic
    full = "builder: error: the result does not fit on its disk"
    assert find_error_lines(["something", full]) == full
    missing = "[   59.8] Buffer I/O error on dev vdb, logical block 3, lost async page write"
    assert find_error_lines([missing, full, missing]) == full
    qemu = "qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory"
    assert find_error_lines([qemu]) == qemu


def test_a_log_that_names_no_error_is_shown_from_its_end() -> None:
    assert find_error_lines(["one", "two", "three", "four", "---"]) == "two\n    three\n    four"
