"""The recipes for CI: every command of each is run, on a repository with a committed footprint."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from minbuild import __version__
from minbuild.footprint import document
from tests.support.footprint_variants import change_footprint, find_row
from tests.support.footprints import tiny

REPO = Path(__file__).parents[2]
CI = REPO / "docs" / "ci"
ACTION = REPO / ".github" / "actions" / "minbuild"
BUDGET = "minbuild-budget: 1\ntotals: {files: 9}\ngrowth: {packed: {bytes: 1 MB, percent: 1}}\n"
FAKE_MAKE = """#!/bin/bash
# stands for a build: `minbuild make MANIFEST -o DIR` puts a footprint there, all else is real
if [ "$1" = make ]; then
    mkdir -p "$4" && cp "$FOOTPRINT" "$4/footprint.json" && echo "made $2"
    exit "${MAKE_CODE:-0}"
fi
exec "%s" -m minbuild "$@"
"""


def git(directory: Path, *argv: str) -> None:
    """Run git as nobody in particular."""
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", *identity, *argv], cwd=directory, check=True, capture_output=True)


class Job:
    """A working copy whose origin has a committed footprint, and programs first in PATH."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.origin, self.work, self.bin = top / "origin", top / "work", top / "bin"
        origin = self.origin
        origin.mkdir()
        self.bin.mkdir()
        git(origin, "init", "-q", "-b", "main")
        (origin / "footprint.json").write_text(document.render_footprint(tiny()), encoding="utf-8")
        (origin / "budget.yaml").write_text(BUDGET, encoding="utf-8")
        git(origin, "add", ".")
        git(origin, "commit", "-q", "-m", "x")
        git(top, "clone", "-q", str(origin), str(self.work))
        self.footprint = top / "new.json"
        self.grow()
        self.program("minbuild", FAKE_MAKE % sys.executable)
        self.env = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "PYTHONPATH": str(REPO),
            "HOME": str(top),
            "FOOTPRINT": str(self.footprint),
        }

    def commit(self, name: str, text: str | None) -> None:
        """Change a file of the base branch; None removes it."""
        if text is None:
            (self.origin / name).unlink()
        else:
            (self.origin / name).write_text(text, encoding="utf-8")
        git(self.origin, "add", "--all")
        git(self.origin, "commit", "-q", "-m", "x")
        git(self.work, "pull", "-q")

    def grow(self, size: int = 5_000) -> None:
        """The build's outcome: /usr/bin/vm has another size."""
        from dataclasses import replace

        new = replace(find_row("/usr/bin/vm"), size=size, sha256="e" * 64)
        self.footprint.write_text(
            document.render_footprint(change_footprint([new])), encoding="utf-8"
        )

    def program(self, name: str, text: str) -> None:
        """Put a program first in PATH."""
        (self.bin / name).write_text(text, encoding="utf-8")
        (self.bin / name).chmod(0o755)

    def run(self, script: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run shell commands as a CI job would."""
        return subprocess.run(
            ["/bin/bash", "-e", "-o", "pipefail", "-c", script],
            cwd=self.work, env=self.env | env, capture_output=True, text=True,
        )  # fmt: skip


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def test_the_shell_recipe_builds_compares_and_judges(job: Job) -> None:
    result = job.run(str(CI / "minbuild-ci.sh"))
    assert result.returncode == 0, result.stderr
    assert "PASS" in result.stdout
    out = job.work / "minbuild-report"
    assert "grow/shrink: 1/0" in (out / "diff.txt").read_text()
    assert (out / "comment.md").read_text().startswith("<!-- minbuild -->\n### minbuild PASS")
    assert json.loads((out / "check.json").read_text())["passed"] is True
    assert {path.name for path in out.iterdir()} >= {"report.html", "junit.xml", "minbuild.sarif"}


def test_the_shell_recipe_ends_with_the_gate_s_code(job: Job) -> None:
    job.commit("budget.yaml", BUDGET.replace("9", "1"))
    summary = job.top / "summary"
    result = job.run(
        str(CI / "minbuild-ci.sh"), GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(summary)
    )
    assert result.returncode == 1
    assert ",line=2,col=17::totals.files: 4 of 1" in result.stdout
    assert "FAIL" in summary.read_text()


def test_a_manifest_over_its_own_budget_is_still_reported(job: Job) -> None:
    assert job.run(str(CI / "minbuild-ci.sh"), MAKE_CODE="1").returncode == 0
    assert job.run(str(CI / "minbuild-ci.sh"), MAKE_CODE="5").returncode == 5


def test_without_a_committed_footprint_absolute_rules_hold(job: Job) -> None:
    job.commit("footprint.json", None)
    result = job.run(str(CI / "minbuild-ci.sh"))
    assert result.returncode == 0, result.stderr
    assert "no baseline: absolute rules only" in result.stdout


def test_a_base_branch_that_is_not_there_is_no_verdict(job: Job) -> None:
    result = job.run(str(CI / "minbuild-ci.sh"), BASE="nowhere")
    assert result.returncode == 2
    assert "there is no branch nowhere to compare with" in result.stderr


def test_the_composite_action_runs(job: Job) -> None:
    action = yaml.safe_load((ACTION / "action.yml").read_text("utf-8"))
    install, build = action["runs"]["steps"]
    log = job.top / "pip.log"
    job.program(
        "python3",
        f'#!/bin/bash\nif [ "$1" = -m ] && [ "$2" = venv ]; then mkdir -p "$3/bin"\n'
        f'printf \'#!/bin/bash\\necho "$@" >> {log}\\n\' > "$3/bin/pip"; chmod +x "$3/bin/pip"\n'
        f'else exec {sys.executable} "$@"; fi\n',
    )
    env = {"RUNNER_TEMP": str(job.top / "temp"), "GITHUB_PATH": str(job.top / "path"),
           "GITHUB_ACTION_PATH": str(ACTION)}  # fmt: skip
    result = job.run(install["run"], **env)
    assert result.returncode == 0, result.stderr
    assert f"{ACTION}/../../.." in log.read_text()
    names = {"MANIFEST": "host.yaml", "BUDGET": "budget.yaml", "BASE": "main", "OUT": "out"}
    assert set(build["env"]) == {*names, "MINBUILD_MIRROR", "APPROVED", "BOOT"}
    result = job.run(build["run"], **env, **names)
    assert result.returncode == 0, result.stderr
    assert (job.work / "out" / "comment.md").exists()


def test_the_github_recipe_uses_the_action() -> None:
    steps = yaml.safe_load((CI / "github.yml").read_text("utf-8"))["jobs"]["footprint"]["steps"]
    inputs = yaml.safe_load((ACTION / "action.yml").read_text("utf-8"))["inputs"]
    (used,) = [one for one in steps if "minbuild/.github" in one.get("uses", "")]
    assert set(used["with"]) <= set(inputs)
    assert not [one for one in steps if "run" in one]


@pytest.mark.parametrize(("found", "verb"), [("", "POST"), ("12", "PATCH")])
def test_the_comment_is_made_once_and_then_replaced(job: Job, found: str, verb: str) -> None:
    steps = yaml.safe_load((CI / "github-comment.yml").read_text("utf-8"))["jobs"]["comment"][
        "steps"
    ]
    log = job.top / "gh.log"
    job.program(
        "gh",
        f'#!/bin/bash\necho "$@" >> {log}\n'
        'case "$*" in *pulls*) [ "$HEAD" = abc ] && echo 7 ;; *--jq*) echo "$FOUND" ;;\n'
        f'*body=@*) cp "${{@: -1:1}}" {job.top}/x 2> /dev/null; for w; do case $w in body=@*) '
        f'cp "${{w#body=@}}" {job.top}/body ;; esac; done ;; esac\nexit 0\n',
    )
    artifact = job.work / "artifact"
    artifact.mkdir()
    (artifact / "comment.md").write_text(
        "<!-- minbuild -->\n@owner ![x](https://evil.example/p.png) <b>x</b> <!-- minbuild -->\n"
    )
    (artifact / "number").write_text("10\n")
    (job.work / "docs").symlink_to(REPO / "docs")
    event = {"OWNER": "stranger", "BRANCH": "main", "HEAD": "abc", "FOUND": found}
    result = job.run(steps[-1]["run"], REPO="o/r", GH_TOKEN="x", **event)
    assert result.returncode == 0, result.stderr
    last = log.read_text().splitlines()[-1]
    assert f"--method {verb}" in last
    assert "issues/10/" not in log.read_text()
    assert ("issues/7/" in last) == (verb == "POST")
    first, text = (job.top / "body").read_text().splitlines()
    assert first == "<!-- minbuild -->"
    assert not any(sign in text for sign in ("@owner", "![", "](", "://", "<"))


def test_no_comment_is_written_where_the_platform_knows_no_pull_request(job: Job) -> None:
    steps = yaml.safe_load((CI / "github-comment.yml").read_text("utf-8"))["jobs"]["comment"]
    job.program("gh", '#!/bin/bash\ncase "$*" in *pulls*) ;; *) exit 9 ;; esac\n')
    result = job.run(steps["steps"][-1]["run"], REPO="o/r", OWNER="s", BRANCH="b", HEAD="abc")
    assert result.returncode == 0, result.stderr
    assert "no open pull request has the head abc" in result.stdout


@pytest.mark.parametrize(("number", "text"), [("7; rm -rf /", "<!-- minbuild -->\n"), ("7", "x\n")])
def test_an_artifact_that_is_no_report_is_refused(job: Job, number: str, text: str) -> None:
    (job.work / "comment.md").write_text(text)
    job.program("gh", "#!/bin/bash\nexit 9\n")
    result = job.run(str(CI / "comment.sh"), NUMBER=number, REPO="o/r")
    assert result.returncode == 2


def read_gitlab_component() -> dict[str, Any]:
    """The job of the GitLab component as GitLab makes it of the inputs' defaults.

    Source: GitLab, "CI/CD inputs".
    """
    header, _, job = (REPO / "templates/footprint.yml").read_text("utf-8").partition("\n---\n")
    inputs = yaml.safe_load(header)["spec"]["inputs"]
    named = {*re.findall(r"\$\[\[ inputs\.(\w+) \]\]", job)}
    assert named == inputs.keys()
    for name in named:
        job = job.replace(f"$[[ inputs.{name} ]]", inputs[name]["default"])
    assert "$[[" not in job
    document: dict[str, Any] = yaml.safe_load(job)
    return document


def test_the_gitlab_component_s_script_runs(job: Job) -> None:
    component = read_gitlab_component()["footprint"]
    result = job.run("\n".join(component["script"]), **component["variables"])
    assert result.returncode == 0, result.stderr
    assert "PASS" in result.stdout
    for path in component["artifacts"]["paths"]:
        assert (job.work / path).exists()
    assert (job.work / component["artifacts"]["reports"]["junit"]).exists()


def test_the_gitlab_component_s_preparation_runs(job: Job) -> None:
    component = read_gitlab_component()["footprint"]
    log = job.top / "log"
    job.program("apt-get", f'#!/bin/bash\necho apt "$@" >> {log}\n')
    job.program(
        "python3",
        f"#!/bin/bash\nmkdir -p venv/bin\nprintf '#!/bin/bash\\necho pip \"$@\" >> {log}\\n' > venv/bin/pip\n"
        "chmod +x venv/bin/pip\n",
    )
    result = job.run("\n".join(component["before_script"]), MINBUILD="here")
    assert result.returncode == 0, result.stderr
    assert "pip install --quiet here" in log.read_text()


def test_the_gitlab_component_is_what_gitlab_takes(tmp_path: Path) -> None:
    (tmp_path / "job.yml").write_text(yaml.safe_dump(read_gitlab_component()))
    header = (REPO / "templates/footprint.yml").read_text("utf-8").partition("\n---\n")[0]
    (tmp_path / "header.yml").write_text(header)
    paths = [tmp_path / "job.yml", tmp_path / "header.yml"]
    assert check_schema("vendor.gitlab-ci", *paths) == ""


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("vendor.github-workflows", ".github/workflows/*.yml"),
        ("vendor.github-workflows", "docs/ci/github*.yml"),
        ("vendor.github-actions", ".github/actions/*/action.yml"),
        ("vendor.github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
        ("vendor.github-issue-forms", ".github/ISSUE_TEMPLATE/[!c]*.yml"),
    ],
)
def test_files_for_github_are_what_github_takes(schema: str, pattern: str) -> None:
    paths = sorted(REPO.glob(pattern))
    assert paths
    assert check_schema(schema, *paths) == ""


def check_schema(schema: str, *paths: Path) -> str:
    """What check-jsonschema has to say of files; "" when they are valid."""
    argv: list[str | Path] = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        schema,
        *paths,
    ]
    result = subprocess.run(argv, capture_output=True, text=True)
    return result.stdout + result.stderr if result.returncode else ""


def test_every_recipe_is_pinned_to_this_version() -> None:
    texts = {
        "docs/ci/github.yml": f"OWNER/minbuild/.github/actions/minbuild@v{__version__}\n",
        "docs/ci/github-comment.yml": f"ref: v{__version__}\n",
        "templates/footprint.yml": f"minbuild/footprint@{__version__}\n",
        "docs/how-to/install.md": f"rev: v{__version__}\n",
    }
    for name, text in texts.items():
        assert text in (REPO / name).read_text("utf-8"), f"{name} names another version"
    assert f"default: minbuild=={__version__}\n" in (REPO / "templates/footprint.yml").read_text()


# pre-commit


def write_hooks(job: Job, args: str) -> None:
    """A configuration with our hooks, which run the minbuild that is first in PATH."""
    hooks = yaml.safe_load((REPO / ".pre-commit-hooks.yaml").read_text("utf-8"))
    for hook in hooks:
        hook["language"] = "system"
        hook["args"] = args.split() if hook["id"] == "minbuild-check" else ["host.yaml"]
    config = {"repos": [{"repo": "local", "hooks": hooks}]}
    (job.work / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))


def run_pre_commit(job: Job, *argv: str) -> subprocess.CompletedProcess[str]:
    git(job.work, "add", "--all", "--force")
    words = shlex.join([sys.executable, "-m", "pre_commit", *argv])
    return job.run(words, PRE_COMMIT_HOME=str(job.top / "pre-commit"))


def test_pre_commit_takes_our_hooks(job: Job) -> None:
    assert (
        run_pre_commit(job, "validate-manifest", str(REPO / ".pre-commit-hooks.yaml")).returncode
        == 0
    )


def test_pre_commit_runs_the_gate_on_a_changed_footprint_alone(job: Job) -> None:
    write_hooks(job, "footprint.json --budget budget.yaml")
    passed = run_pre_commit(job, "run", "--files", "footprint.json")
    assert "minbuild check" in passed.stdout
    assert passed.stdout.count("Passed") == 1, passed.stdout
    assert passed.stdout.count("Skipped") == 1
    (job.work / "budget.yaml").write_text(BUDGET.replace("9", "1"))
    failed = run_pre_commit(job, "run", "--files", "budget.yaml")
    assert failed.returncode == 1
    assert "totals.files" in failed.stdout


def test_pre_commit_asks_for_the_lock_when_the_manifest_changes(job: Job) -> None:
    job.program("minbuild", '#!/bin/sh\necho "asked: $*"; exit 1\n')
    write_hooks(job, "footprint.json")
    (job.work / "host.yaml").write_text("minbuild: 1\n")
    (job.work / "host.lock").write_text("minbuild-lock: 1\n")
    for name in ("host.yaml", "host.lock"):
        failed = run_pre_commit(job, "run", "minbuild-lock", "--files", name)
        assert (failed.returncode, "asked: lock --check host.yaml" in failed.stdout) == (1, True)


@pytest.mark.long
@pytest.mark.mirror
def test_pre_commit_installs_minbuild_from_this_repository(job: Job) -> None:
    revision = subprocess.run(
        ["git", "-C", REPO, "rev-parse", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    hook = {"id": "minbuild-check", "args": ["footprint.json", "--budget", "budget.yaml"]}
    config = {"repos": [{"repo": str(REPO), "rev": revision, "hooks": [hook]}]}
    (job.work / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    (job.bin / "minbuild").unlink()
    result = run_pre_commit(job, "run", "--files", "footprint.json")
    assert result.stdout.count("Passed") == 1, result.stdout + result.stderr


def read_gitlab_job() -> tuple[str, dict[str, str]]:
    component = read_gitlab_component()["footprint"]
    return "\n".join(component["script"]), component["variables"]


def read_recipes() -> dict[str, tuple[str, dict[str, str]]]:
    """Each recipe's gate, shell commands and their environment; the action runs the first one."""
    names = {"MANIFEST": "host.yaml", "BUDGET": "budget.yaml", "BASE": "main"}
    return {
        "shell": (str(CI / "minbuild-ci.sh"), names),
        "gitlab": read_gitlab_job(),
    }


WAIVED = "waivers: [{rule: totals.*, owner: me, because: I say so, expires: 2026-12-31}]\n"
HOSTILE = {
    "raises the limit": {"budget.yaml": BUDGET.replace("9", "99")},
    "removes the budget": {"budget.yaml": None},
    "waives the rule": {"budget.yaml": BUDGET + WAIVED},
    "puts a manifest in its place": {"budget.yaml": None, "host.yaml": "minbuild: 1\nkernel: {}\n"},
    "commits another baseline": {"footprint.json": document.render_footprint(change_footprint([find_row("/usr/bin/vm")], without=["/etc/inittab"]))},
}  # fmt: skip


@pytest.mark.parametrize("recipe", read_recipes().values(), ids=read_recipes().keys())
@pytest.mark.parametrize("files", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_change_does_not_talk_its_way_past_the_gate(
    job: Job, recipe: tuple[str, dict[str, str]], files: dict[str, str | None]
) -> None:
    for name, text in files.items():
        if text is None:
            (job.work / name).unlink()
        else:
            (job.work / name).write_text(text, encoding="utf-8")
    script, env = recipe
    result = job.run(script, **{name: str(value) for name, value in env.items()})
    assert result.returncode == 1, result.stdout + result.stderr
    assert "FAIL  proposed." in result.stdout


@pytest.mark.parametrize("recipe", read_recipes().values(), ids=read_recipes().keys())
def test_an_image_over_the_limit_of_the_base_fails_whatever_the_change_allows(
    job: Job, recipe: tuple[str, dict[str, str]]
) -> None:
    job.commit("budget.yaml", BUDGET.replace("9", "1"))
    (job.work / "budget.yaml").write_text(BUDGET, encoding="utf-8")
    script, env = recipe
    names = {name: str(value) for name, value in env.items()}
    result = job.run(script, **names)
    assert result.returncode == 1
    assert "totals.files" in result.stdout
    approved = {"APPROVED": "yes", "CI_MERGE_REQUEST_LABELS": "x,budget-approved"}
    result = job.run(script, **names, **approved)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "approved" in result.stdout
