import shutil
import subprocess
from pathlib import Path

import pytest

from minbuild.errors import ToolError, UsageError
from minbuild.manifest.shipped_manifests import load_tools
from minbuild.paths import RootPath
from tests.unit.toolbox.real import EPOCH, toolbox

pytestmark = [pytest.mark.mirror]

KERNEL_FILES = ("/proc/", "/sys/", "/dev/")


def test_every_tool_of_the_build_starts() -> None:
    box = toolbox()
    for tool in load_tools():
        if not tool.lab:
            assert box.build_argv(tool.name)
    assert b"ukify 257" in box.run("ukify", ["--version"], purpose="trying")
    assert b"5." in box.run("xz", ["--version"], purpose="trying")


def test_an_unknown_tool_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="no tool nothing") as error:
        toolbox().build_argv("nothing")
    assert "ukify" in error.value.fix


def test_a_failing_tool_says_how_to_run_it_alone() -> None:
    with pytest.raises(ToolError, match=r"^xz failed with exit code 1 while packing it") as error:
        toolbox().run("xz", ["--no-such-option"], purpose="packing it")
    assert "minbuild tool xz -- --no-such-option" in error.value.fix


def test_a_missing_file_of_the_toolbox_is_an_error() -> None:
    with pytest.raises(ToolError, match="has no /usr/none"):
        toolbox().find_path(RootPath("/usr/none"))


def test_a_digest_follows_links() -> None:
    box = toolbox()
    library = RootPath(f"{box.libraries}/liblzma.so.5")
    assert len(box.find_digest(library)) == 64
    assert box.find_digest(RootPath("/usr/none")) == ""


def test_the_environment_holds_nothing_of_the_machine() -> None:
    given = toolbox().build_environment()
    assert given["SOURCE_DATE_EPOCH"] == str(EPOCH)
    assert given["PATH"].startswith(str(toolbox().root))
    assert "LD_LIBRARY_PATH" not in given


@pytest.mark.oracle
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("name", ["xz", "zstd", "sfdisk", "mkfs.fat", "mmd", "mcopy", "ukify"])
def test_no_library_of_the_machine_is_opened(name: str, tmp_path: Path) -> None:
    opened = traced(name, tmp_path)
    root = str(toolbox().root)
    strangers = [
        path for path in opened if ".so" in path and not path.startswith((root, *KERNEL_FILES))
    ]
    # the loader looks for this one whatever it is told; it is there on no ordinary machine
    assert [path for path in strangers if path != "/etc/ld.so.preload"] == []
    assert not any("/python3" in path or "locale" in path for path in strangers)
    assert any(path.startswith(f"{root}/usr/lib") for path in opened)


def traced(name: str, work: Path) -> list[str]:
    """Every path that a tool opens while it does what the build has it do."""
    box = toolbox()
    disk = work / "disk"
    with disk.open("wb") as file:
        file.truncate(8 << 20)
    (work / "file").write_bytes(b"MZ")
    script = b"label: gpt\nstart=2048, size=12000, type=U\n"
    box.run("sfdisk", ["--quiet", "--no-reread", disk], purpose="preparing", stdin=script)
    format_esp: list[str | Path] = [
        "--invariant",
        "-F",
        "16",
        "-s",
        "1",
        "--offset=2048",
        disk,
        "6000",
    ]
    box.run("mkfs.fat", format_esp, purpose="preparing")
    inside = ["-i", f"{disk}@@1M"]
    words = {
        "xz": ["--stdout"],
        "zstd": ["--stdout"],
        "sfdisk": ["--quiet", "--no-reread", str(disk)],
        "mkfs.fat": [str(word) for word in format_esp],
        "mmd": [*inside, "::EFI"],
        "mcopy": [*inside, "-Q", str(work / "file"), "::FILE"],
        "ukify": ["build", "--config=/dev/null", "--help"],
    }[name]
    strace = shutil.which("strace")
    assert strace is not None
    log = work / "log"
    subprocess.run(
        [strace, "-f", "-e", "trace=open,openat,execve", "-o", log, *box.build_argv(name), *words],
        env=box.build_environment(),
        input=script if name == "sfdisk" else b"some text",
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return [
        part
        for line in log.read_text(encoding="latin-1").splitlines()
        for part in line.split('"')[1:2]
        if part.startswith("/") and "ENOENT" not in line
    ]
