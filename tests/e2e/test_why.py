"""Why a path is in a host that was never built, and where one could come from that is not."""

from tests.e2e.small_host import Small, minbuild

COMPONENT = "summary: what says hello\npackages: {hello: [/usr/bin/greet]}\n"


def test_a_manifest_is_resolved_to_say_why(small: Small) -> None:
    small.write()
    (small.directory / "components/boot").mkdir(parents=True)
    (small.directory / "components/boot/greet.yaml").write_text(COMPONENT)

    def why(*argv: str) -> tuple[int, str]:
        own = ("--components", "components")
        output = minbuild(*small.argv("why", "small.yaml", *argv, *own), cwd=small.directory)
        assert output.code in (0, 1), output.err
        return output.code, output.out

    code, text = why("libhello.so.1.2")
    assert (code, "DT_NEEDED libhello.so.1" in text) == (0, True)
    assert why("/usr/bin/helo")[1].splitlines()[1] == "  similar: /usr/bin/hello"
    code, text = why("/usr/bin/greet")
    assert (code, text.splitlines()) == (
        1,
        [
            "/usr/bin/greet is not in small: no need leads to it",
            "  the component boot/greet asks hello for /usr/bin/greet",
        ],
    )


def test_what_a_drop_leaves_out_is_said_with_its_reason(small: Small) -> None:
    small.write(
        "drop: [{path: /usr/lib/x86_64-linux-gnu/libhello.so.1*, because: nobody greets}]\n"
    )
    argv = small.argv("why", "small.yaml", "/usr/lib/x86_64-linux-gnu/libhello.so.1")
    output = minbuild(*argv, cwd=small.directory)
    assert output.code == 1
    assert "libhello.so.1 is not in small: the manifest leaves it out\n" in output.out
    assert "(small.yaml:7:8), because: nobody greets\n" in output.out
