"""Java's way, where it differs from ours and a whole process shows it: `multilangd.compatibility = strict`."""
import os
import signal
import time

from harness import world as worlds
from harness.course import running
from harness.runner import test
from harness.world import check

STRICT = {"multilangd.compatibility": "strict"}
HANGING = dict(HANG_ON="processRecords")


@test("strict-second-signal")
def _(world):
    """A second signal changes nothing: the grace is waited out."""
    _, _, _, daemon = running(world, shards=1, wait_for_checkpoint=False, env=HANGING, shutdownGraceMillis="4000", **STRICT)
    child = sorted(daemon.children())
    began = time.monotonic()
    daemon.send(signal.SIGTERM)
    time.sleep(1)
    daemon.send(signal.SIGTERM)
    code, _ = daemon.ended(20)
    seconds = time.monotonic() - began
    end(child)
    check(code == 143, "the exit code was %s, not 143" % code)
    check(3.5 < seconds < 8, "with 4 s of grace and a second signal after 1 s it took %.1f s" % seconds)


@test("strict-children-outlive")
def _(world):
    """kill -9 of the daemon: a child that does not end by itself is left behind, as with Java."""
    _, _, _, daemon = running(world, shards=1, wait_for_checkpoint=False, env=HANGING, **STRICT)
    child = sorted(daemon.children())
    check(len(child) == 1, "there should be one child: %s" % child)
    daemon.stop(signal.SIGKILL)
    time.sleep(1)
    left = end(child)
    check(left == child, "of the children %s only %s were left" % (child, left))


@test("strict-never-started")
def _(world):
    """A lease table that cannot be reached: exit code 0 when the attempts to start are used up."""
    backend = world.embedded()
    stream, app = backend.stream("never", 1), backend.application("never-app")
    daemon = world.daemon(app, stream=stream, **{
        **worlds.QUICK, **STRICT, "schedulerInitializationBackoffTimeMillis": "100",
        "dynamoDBEndpoint": "http://127.0.0.1:%d" % worlds.free_port()}).start()
    code, _ = daemon.ended(60 * world.patience)
    check(code == 0, "the exit code was %s, not 0\n%s" % (code, worlds.tail(daemon.process.err)))


@test("strict-no-time")
def _(world):
    """timeoutInSeconds = 0 halts at the first message, with exit code 1."""
    backend = world.embedded()
    stream, app = backend.stream("no-time", 1), backend.application("no-time-app")
    daemon = world.daemon(app, stream=stream, env=dict(HANG_ON="initialize"), timeoutInSeconds="0", **worlds.QUICK, **STRICT)
    daemon.start()
    code, _ = daemon.ended(30 * world.patience)
    end([e["pid"] for e in daemon.events("start")])
    check(code == 1, "the exit code was %s, not 1\n%s" % (code, worlds.tail(daemon.process.err)))


@test("strict-end-forgotten")
def _(world):
    """A child that does not checkpoint at the end of its shard is not called again, and no shard follows."""
    backend, stream, app, daemon = running(world, shards=1, env=dict(FORGET_ON="shardEnded"), **STRICT)
    stream.split("shardId-000000000000")
    daemon.wait_for("the end of the shard at the child", lambda: daemon.events("shardEnded"), 60)
    time.sleep(8)
    daemon.must_live()
    begun = [e["shard"] for e in daemon.events("initialize")]
    check(begun == ["shardId-000000000000"], "children were started for %s" % begun)
    check(app.checkpoints()["shardId-000000000000"].isdigit(), "the end was stored: %s" % app.checkpoints())
    daemon.stop()


def end(children):
    """Kills those that are still there; which they are."""
    left = []
    for pid in children:
        try:
            os.kill(pid, signal.SIGKILL)
            left.append(pid)
        except ProcessLookupError:
            pass
    return left
