"""Start, stop, kill: exit codes, and what is left behind."""
import re
import signal
import time

from harness import world as worlds
from harness.course import running
from harness.runner import test
from harness.world import check


def graceful(world, number, wanted):
    _, stream, app, daemon = running(world)
    code, seconds = daemon.stop(number)
    check(code == wanted, "%s ended the daemon with exit code %s, not %d" % (number.name, code, wanted))
    check(seconds < 8, "it took %.1f s to stop two idle shards" % seconds)
    for shard in (s["ShardId"] for s in stream.shards()):
        last = [e["event"] for e in daemon.events() if e["shard"] == shard][-4:]
        check(last == ["shutdownRequested", "checkpoint", "leaseLost", "end of input"],
              "the child of %s ended with %s" % (shard, last))
    refused = [e for e in daemon.events("checkpoint") if e["error"]]
    check(not refused, "checkpoints were refused: %s" % refused)
    daemon.no_children(1, "after %s" % number.name)
    wrong = app.given_back()
    check(not wrong, "after %s: %s" % (number.name, wrong))


@test("sigterm")
def _(world):
    """SIGTERM with default grace: 143, children told and gone, leases, lock and metric row given back."""
    graceful(world, signal.SIGTERM, 143)


@test("sigint")
def _(world):
    """SIGINT: 130, and the same otherwise."""
    graceful(world, signal.SIGINT, 130)


@test("batch-finished-first")
def _(world):
    """SIGTERM in the middle of a batch: the batch is finished and checkpointed before shutdownRequested."""
    _, _, app, daemon = running(world, shards=1, wait_for_checkpoint=False, env=dict(ANSWER_SLOWLY="2"))
    daemon.send(signal.SIGTERM)
    code, _ = daemon.ended(20)
    kinds = [e["event"] for e in daemon.events()][-6:]
    check(kinds == ["processRecords", "checkpoint", "shutdownRequested", "checkpoint", "leaseLost", "end of input"],
          "the child heard %s" % kinds)
    check(code == 143, "the exit code was %s, not 143" % code)
    check(not app.given_back(), app.given_back())


@test("second-signal")
def _(world):
    """A second signal ends at once, even while a child hangs in a batch; the child is ended too."""
    _, _, _, daemon = running(world, shards=1, wait_for_checkpoint=False, env=dict(HANG_ON="processRecords"),
                              shutdownGraceMillis="60000")
    daemon.send(signal.SIGTERM)
    time.sleep(1.5)
    check(daemon.alive, "the daemon did not wait for the batch in progress, although 60 s of grace were given")
    code, seconds = daemon.stop(signal.SIGTERM, 5)
    check(code == 143 and seconds < 1, "the second SIGTERM ended it after %.1f s with exit code %s" % (seconds, code))
    daemon.no_children(2, "after the second signal")


@test("hanging-child")
def _(world):
    """SIGTERM while a child hangs and ignores signals: the end of the grace time is the end; the child is gone."""
    _, _, app, daemon = running(world, shards=1, wait_for_checkpoint=False, env=dict(HANG_ON="processRecords"),
                                shutdownGraceMillis="3000")
    code, seconds = daemon.stop(signal.SIGTERM, 20)
    check(code == 143, "the exit code was %s, not 143" % code)
    check(seconds < 6, "with 3 s of grace it took %.1f s" % seconds)
    daemon.no_children(2, "after the end of the daemon")
    check(not app.given_back(), app.given_back())


@test("sigterm-in-start-up")
def _(world):
    """SIGTERM while the endpoint hangs: gone within about a second, 143."""
    hung = worlds.HungEndpoint()
    daemon = world.daemon(None, stream="any", kinesisEndpoint=hung.url, dynamoDBEndpoint=hung.url).start()
    daemon.wait_for("the daemon to call the endpoint", lambda: hung.held, 20)
    time.sleep(1)
    daemon.must_live()
    code, seconds = daemon.stop(signal.SIGTERM, 20)
    check(code == 143, "the exit code was %s, not 143" % code)
    check(seconds < 1.5, "it took %.1f s to end a start-up that waits for an endpoint" % seconds)


@test("kill-9")
def _(world):
    """kill -9 of the daemon: its children die with it, also one that reads nothing and ignores signals."""
    _, _, _, daemon = running(world, shards=2, wait_for_checkpoint=False, env=dict(HANG_ON="processRecords"))
    check(len(daemon.children()) >= 2, "there should be a child for each shard: %s" % daemon.children())
    daemon.stop(signal.SIGKILL)
    daemon.no_children(2, "after kill -9 of the daemon")


@test("restart")
def _(world):
    """After SIGTERM the next worker starts at once, at the stored checkpoint, and nothing comes twice."""
    _, stream, app, first = running(world)
    stream.put(50)
    first.wait_for("50 more records", lambda: len(first.records()) >= 52, 20)
    first.stop()
    stored = app.checkpoints()
    stream.put(50)
    second = world.daemon(app, "w2", stream=stream, **worlds.QUICK).start()
    second.wait_for("50 records more", lambda: len(second.records()) >= 50, 60)
    took = second.events("processRecords")[0]["t"] - second.began
    time.sleep(1)
    second.stop()
    again = [r for r in second.records() if r[1] <= int(stored[r[0]])]
    check(not again, "records at or below the stored checkpoint came again: %s" % again[:3])
    check(len(second.records()) == 50, "%d records, not 50, came after the restart" % len(second.records()))
    begins = {e["shard"]: e["sequence"] for e in second.events("initialize")}
    check(begins == stored, "initialize named %s, the table %s" % (begins, stored))
    check(took < 5 * world.patience, "the first record after the restart took %.1f s" % took)


@test("no-secrets")
def _(world):
    """What the daemon writes about itself names no credentials."""
    _, _, _, daemon = running(world, shards=1, env=dict(AWS_SECRET_ACCESS_KEY="not-to-be-shown-7f3a"))
    daemon.stop()
    check("not-to-be-shown-7f3a" not in daemon.output(), "the secret key stands in the daemon's output")
    check(not re.search(r"panicked at", daemon.output()), "the daemon panicked")
