"""Running a command as one who is not root, has no capability and may make no namespace."""

import os
import shutil
import subprocess

CAGE = (
    "echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --ambient-caps=-all "
    '--inh-caps=-all --bounding-set=-all --no-new-privs "$@"'
)
"""The limit holds below this namespace alone. Source: user_namespaces(7), setpriv(1)."""


def unprivileged_argv(*argv: str) -> tuple[str, ...]:
    """The command line that runs `words` so, as whoever calls it: its files stay one's own."""
    user, group = ("1000", "1000") if os.geteuid() == 0 else (str(os.geteuid()), str(os.getegid()))
    names = (f"--map-user={user}", f"--map-group={group}")
    return ("unshare", "--user", *names, "--keep-caps", "sh", "-c", CAGE, "bound", *argv)


def explain_unavailable() -> str:
    """Why that cannot be done here; "" when it can."""
    if not all(map(shutil.which, ("unshare", "setpriv"))):
        return "there is no util-linux"
    result = subprocess.run(unprivileged_argv("true"), capture_output=True, text=True)
    return result.stderr if result.returncode else ""
