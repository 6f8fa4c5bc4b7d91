"""The config file: its keys, their values, and what is told of a wrong one."""

from pathlib import Path

import pytest

from minbuild.config import SETTINGS, load_config
from minbuild.errors import ArchiveError


def write(directory: Path, text: str) -> Path:
    file = directory / "config.toml"
    file.write_text(text)
    return file


def test_every_key_is_read(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, """\
        mirror = ["http://MIRROR/debian", "http://OTHER/debian"]
        security-mirror = "http://MIRROR/debian-security"
        offline = true
        timeout = 60
        trusted = ["/srv/hosts"]
        sandbox = "require"
        accel = "tcg"
        color = "never"
        log = "verbose"
        [store]
        directory = "/srv/store"
        remote = "/srv/shared"
        remote-mode = "read-only"
        keys = "one.pub:two.pub"
        sign = "one.sec"
        [make]
        jobs = 2
    """))  # fmt: skip
    assert config.mirror == ("http://MIRROR/debian", "http://OTHER/debian")
    assert config.security_mirror == ("http://MIRROR/debian-security",)
    assert config.trusted == (Path("/srv/hosts"),)
    assert set(config.values) == {setting.name for setting in SETTINGS}
    assert config.commands == {"make": {"jobs": 2}, "store": {}}
    assert config.to_environment() == {
        "MINBUILD_OFFLINE": "1", "MINBUILD_TIMEOUT": "60", "MINBUILD_STORE": "/srv/store",
        "MINBUILD_SANDBOX": "require", "MINBUILD_ACCEL": "tcg", "MINBUILD_COLOR": "never",
        "MINBUILD_LOG": "verbose", "MINBUILD_STORE_REMOTE": "/srv/shared",
        "MINBUILD_STORE_REMOTE_MODE": "read-only", "MINBUILD_STORE_KEYS": "one.pub:two.pub",
        "MINBUILD_STORE_SIGN": "one.sec",
    }  # fmt: skip


def test_a_file_that_is_not_there_is_empty(tmp_path: Path) -> None:
    config = load_config(tmp_path / "none.toml")
    assert not config.values
    assert config.to_environment() == {}


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ('miror = "x"', "unknown key in the config file: miror", "did you mean mirror?"),
        ('security_miror = "x"', "unknown key in the config file: security_miror",
         "did you mean security-mirror?"),
        ("mirror = 3", "mirror in the config file is not a string or a list of strings",
         'write mirror = ["URL", "URL"]'),
        ('accel = "xen"', "accel in the config file is not one of auto, kvm, tcg", 'write accel = "tcg"'),
        ("timeout = 0", "timeout in the config file is not a whole number above 0", "write timeout = 60"),
        ("timeout = true", "timeout in the config file is not a whole number above 0", "write timeout = 60"),
        ('offline = "yes"', "offline in the config file is not true or false", "write offline = true"),
        ('store = "here"', "store in the config file is not an absolute directory",
         'write store = "/srv/minbuild"'),
        ('trusted = "/srv"', "trusted in the config file is not a list of strings", 'write trusted = ["DIR"]'),
        ('store.directory = "here"', "store.directory in the config file is not an absolute directory",
         'write store.directory = "/srv/minbuild"'),
    ],
)  # fmt: skip
def test_a_wrong_line_is_told_with_what_to_write(
    text: str, what: str, fix: str, tmp_path: Path
) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ArchiveError) as caught:
        load_config(file)
    assert (caught.value.what, caught.value.where, caught.value.fix) == (what, str(file), fix)


def test_the_store_has_its_directory_beside_defaults_of_its_commands(tmp_path: Path) -> None:
    text = '[store]\ndirectory = "/srv/store"\n[store.gc]\ndays = 7\n'
    config = load_config(write(tmp_path, text))
    assert config.to_environment() == {"MINBUILD_STORE": "/srv/store"}
    assert config.commands == {"store": {"gc": {"days": 7}}}


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/jo")
    text = 'store = "~/store"\nlog = "~/minbuild.log"\ntrusted = ["~/hosts"]\n'
    config = load_config(write(tmp_path, text))
    assert config.to_environment() == {
        "MINBUILD_STORE": "/home/jo/store", "MINBUILD_LOG": "/home/jo/minbuild.log",
    }  # fmt: skip
    assert config.trusted == (Path("/home/jo/hosts"),)


def test_a_file_that_is_no_toml_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="cannot read the config file"):
        load_config(write(tmp_path, "mirror: x"))
