"""Why a path is in a host that was never built, and where one could come from that is not."""

from tests.e2e.small_host import Small, minbuild

COMPONENT = "summary: what says hello\npackages: {hello: [/usr/bin/greet]}\n"


def test_a_manifest_is_resolved_to_say_why(small: Small) -> None:
    small.write()
    (small.directory / "components/boot").mkdir(parents=True)
    (small.directory / "components/boot/greet.yaml").write_text(COMPONENT)

    def why(*words: str) -> tuple[int, str]:
        own = ("--components", "components")
        said = minbuild(*small.argv("why", "small.yaml", *words, *own), cwd=small.directory)
        assert said.code in (0, 1), said.err
        return said.code, said.out

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
    words = small.argv("why", "small.yaml", "/usr/lib/x86_64-linux-gnu/libhello.so.1")
    said = minbuild(*words, cwd=small.directory)
    assert said.code == 1
    assert "libhello.so.1 is not in small: the manifest leaves it out\n" in said.out
    assert "(small.yaml:7:8), because: nobody greets\n" in said.out
