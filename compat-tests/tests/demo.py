"""`multilangd demo` and what it says about itself."""
import os
import re

from harness import world as worlds
from harness.runner import test
from harness.world import check


def numbers(line):
    """The three figures of the summary's last line, whether it says `put 40` or `40 put`."""
    found = {}
    for word in ("put", "delivered", "checkpointed"):
        m = re.search(r"([\d,]+) (?:records )?(?:were )?%s\b|\b%s:? =?\s*([\d,]+)" % (word, word), line)
        if m:
            found[word] = int((m.group(1) or m.group(2)).replace(",", ""))
    return found


def demo(world, seconds, *more):
    p = world.spawn("demo", [world.binary, "demo", "--seconds", str(seconds), *more],
                    env=world.environment(COMPAT_DAEMON="demo-" + world.mark))
    code = p.wait((seconds + 60) * world.patience)
    with open(p.out, errors="replace") as f:
        lines = [line.strip() for line in f if line.strip()]
    left = world.survivors("demo-" + world.mark)
    check(not left, "the demo left processes behind: %s" % left)
    return p, code, lines[-1] if lines else ""


@test("demo", alone=True)
def _(world):
    """demo --seconds 8: exit 0, and its last line says put = delivered = checkpointed, more than none."""
    p, code, last = demo(world, 8)
    check(code == 0, "exit code %s; last line '%s'\n%s" % (code, last, worlds.tail(p.err)))
    n = numbers(last)
    check(len(n) == 3, "the last line does not name put, delivered and checkpointed: '%s'" % last)
    check(len(set(n.values())) == 1 and n["put"] > 0, "the last line says %s" % n)


@test("demo-finds-loss", alone=True)
def _(world):
    """demo --exec of a child that never checkpoints a batch: exit 1, and it says what is missing."""
    p, code, last = demo(world, 8, "--exec", "python3 " + os.path.join(worlds.COMPAT, "clients", "forgetful.py"))
    check(code == 1, "exit code %s, not 1; last line '%s'" % (code, last))
    with open(p.out, errors="replace") as f, open(p.err, errors="replace") as g:
        said = (f.read() + g.read()).lower()
    check("checkpoint" in said, "it does not say that checkpoints are missing\n" + worlds.tail(p.out))


@test("demo-real-client", alone=True, heavy=True)
def _(world):
    """demo --exec of an amazon_kclpy application: exit 0."""
    app = os.path.join(worlds.REPO, "samples", "kclpy", "app.py")
    p, code, last = demo(world, 8, "--exec", "%s %s" % (world.tools.kclpy(), app))
    check(code == 0, "exit code %s; last line '%s'\n%s" % (code, last, worlds.tail(p.err)))
