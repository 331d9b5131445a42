"""The recorded conversations of the Java daemon, played with ours: equal in strict mode, and no more different than said."""
import os
import re
import subprocess
import sys

from harness import world as worlds
from harness.runner import test
from harness.world import check

# Where our default is safer than Java; docs/differences.md has a row for each.
SAFER = {
    "child-hangs-timeout": "a late child is ended, and not left behind",
    "initial-at-timestamp": "a stop without shutdownGraceMillis is graceful",
    "kpl-bad-index": "a damaged aggregate does not stop the daemon",
    "sigterm-default-grace": "a stop without shutdownGraceMillis is graceful",
    "unicode-ascii-locale": "UTF-8 whatever the locale",
}


def play(world, *mode):
    """Plays all of them; returns how many there are and the names of those that differ.

    Those that differ are played once more, alone: the recorder orders its events by the millisecond, and a daemon that
    answers within one looks different from a slow one.
    """
    command = [sys.executable, os.path.join(worlds.COMPAT, "transcripts"), "--binary", world.binary, *mode]

    def score(*names):
        said = subprocess.run([*command, *names], cwd=worlds.REPO, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
        found = re.search(r"^transcripts: (\d+)/(\d+)$", said, re.MULTILINE)
        check(found, "no score in\n" + said[-2000:])
        return int(found.group(2)), set(re.findall(r"^DIFFERENT (\S+)", said, re.MULTILINE)), said

    count, different, said = score()
    if different:
        _, different, said = score("--parallel", "1", *sorted(different))
    return count, different, said


@test("conversations-strict", alone=True)
def _(world):
    """In strict mode every recorded conversation is equal."""
    count, different, said = play(world, "--strict")
    check(count >= 42, "only %d conversations were played" % count)
    check(not different, "different: %s\n%s" % (sorted(different), said[-3000:]))


@test("conversations", alone=True)
def _(world):
    """By default only those differ where we are safer on purpose; children that fail (child_failure.py) left apart."""
    _, different, said = play(world, "--property", "multilangd.childFailure=exit")
    check(different <= set(SAFER), "different: %s, expected %s\n%s" % (sorted(different), sorted(SAFER), said[-3000:]))
