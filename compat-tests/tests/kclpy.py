"""Courses of real children: amazon_kclpy, unmodified, on the embedded backend and on a second opinion."""
import os

from harness import world as worlds
from harness.course import big_line, course
from harness.runner import test
from harness.world import check

CLIENTS = os.path.join(worlds.COMPAT, "clients")
V3 = ["shutdownRequested checkpointed", "leaseLost"]
V2 = ["shutdownRequested checkpointed", "shutdown ZOMBIE"]
SHELL = "sh " + os.path.join(CLIENTS, "app.sh")


def kclpy(world, app):
    return "%s %s" % (world.tools.kclpy(), os.path.join(CLIENTS, app))


@test("kclpy-polling")
def _(world):
    """amazon_kclpy (v3 class): 300 records over a split, polling."""
    course(world, world.embedded(), kclpy(world, "app_v3.py"), V3)


@test("kclpy-fanout")
def _(world):
    """amazon_kclpy (v3 class): 300 records over a split, enhanced fan-out."""
    course(world, world.embedded(), kclpy(world, "app_v3.py"), V3, retrievalMode="FANOUT")


@test("kclpy-v2")
def _(world):
    """amazon_kclpy (v2 class): the same course; the library turns leaseLost into shutdown(ZOMBIE)."""
    course(world, world.embedded(), kclpy(world, "app_v2.py"), V2)


@test("shell-child")
def _(world):
    """The smallest conforming child, a POSIX shell script: the same course."""
    course(world, world.embedded(), SHELL, V3)


@test("second-opinion")
def _(world):
    """The same course on DynamoDB Local and npm's kinesis-local (polling; it cannot end a shard in fan-out)."""
    course(world, world.second_opinion(), kclpy(world, "app_v3.py"), V3)


@test("big-line-kclpy")
def _(world):
    """amazon_kclpy (v3 class): 13 MB in one line, with U+2028, quotes and accents in the partition keys."""
    big_line(world, world.embedded(), kclpy(world, "app_v3.py"), V3)


@test("big-line-kclpy-v2")
def _(world):
    """amazon_kclpy (v2 class): the same line."""
    big_line(world, world.embedded(), kclpy(world, "app_v2.py"), V2)


@test("big-line-shell")
def _(world):
    """The shell child: the same line."""
    big_line(world, world.embedded(), SHELL, V3)


@test("kclpy-sample-app")
def _(world):
    """amazon_kclpy's own sample application, unmodified, fed by `multilangd put`."""
    sample = world.tools.kclpy_sample()
    backend = world.embedded()
    stream, app = backend.stream("words", 2), backend.application("PythonKCLSample")
    put = world.spawn("put", [world.binary, "put", "--stream", stream.name, "--endpoint", backend.kinesis_url,
                              "--words", "60"])
    code = put.wait(30)
    check(code == 0, "`multilangd put --words 60` exited with %s\n%s" % (code, worlds.tail(put.err)))
    last = stream.last_numbers()
    check(sum(n for n, _ in last.values()) == 60, "`multilangd put --words 60` put %s" % last)
    daemon = world.daemon(app, stream=stream, executableName="%s %s" % (world.tools.kclpy(), sample),
                          shutdownGraceMillis="15000", **worlds.QUICK).start()
    wanted = {shard: number for shard, (count, number) in last.items() if count}

    def stored():
        return {k: c for k, c in app.checkpoints().items() if k in wanted}
    # The sample checkpoints at its first batch (all of it here), every 30 s after that, and when asked to stop.
    daemon.wait_for("the last record of each shard as its checkpoint", lambda: stored() == wanted, 90)
    code, _ = daemon.stop()
    check(code == 143, "after SIGTERM the daemon's exit code was %s, not 143" % code)
    check(stored() == wanted, "after the stop the checkpoints were %s, not %s" % (stored(), wanted))
    # It writes a word about each record to stderr, without a newline: seen at the end of the child only.
    said = daemon.output().count("Record (Partition Key: ")
    check(said >= 60, "the child's stderr came through with %d of its 60 words on records" % said)
    daemon.no_children(2, "after the end of the daemon")
