"""Courses of real children: amazon_kclpy, unmodified, on the embedded backend and on a second opinion."""
import os

from harness import world as worlds
from harness.runner import test
from harness.world import check, wait_for

CLIENTS = os.path.join(worlds.COMPAT, "clients")


def course(world, backend, child, retrieval, ends_with):
    """200 records, a split while running, 100 more; then SIGTERM. with these keys 53 and 47 of them land in the two child shards."""
    stream, app = backend.stream("course", 1), backend.application("course-app")
    stream.put(200)
    probe = world.path("probe")
    daemon = world.daemon(app, stream=stream, env=dict(PROBE_LOG=probe), executableName=child, retrievalMode=retrieval,
                          shutdownGraceMillis="15000", **worlds.QUICK).start()

    def lines():
        try:
            with open(probe) as f:
                return [line.split() for line in f.read().split("\n")[:-1]]
        except FileNotFoundError:
            return []

    def received(shard=None):
        return sum(int(w[2]) for w in lines() if w[1] == "records" and shard in (None, w[0]))

    parent = "shardId-000000000000"
    daemon.wait_for("a first checkpoint", lambda: app.checkpoints().get(parent, "").isdigit(), 60)
    daemon.wait_for("200 records at the child", lambda: received() >= 200, 30)
    stream.split(parent)
    stream.put(100, first=100000)
    # The parent's row may be cleaned away as soon as both children have begun, so its end is looked for on the way.
    seen = {}

    def done():
        seen.update(app.checkpoints())
        young = [c for k, c in app.checkpoints().items() if k != parent]
        return received() >= 300 and len(young) == 2 and all(c.isdigit() for c in young)
    daemon.wait_for("300 records and two child shards with checkpoints", done, 60, step=0.05)
    young = {k: c for k, c in app.checkpoints().items() if k != parent}
    check(seen.get(parent) == "SHARD_END", "the parent lease stood at %s, not at SHARD_END" % seen.get(parent))
    wait_for("the parent's child program to hear of the end", lambda: [parent, "shardEnded", "checkpointed"] in lines() or
             [parent, "shutdown", "checkpointed"] in lines(), 5)

    def at_last_number():
        # A checkpoint line of app_v3 names the number; app_v2 checkpoints without one.
        named = {w[0]: w[2] for w in lines() if w[1] == "checkpointed" and len(w) > 2}
        return all(named.get(k) in (None, c) for k, c in app.checkpoints().items() if c.isdigit())
    wait_for("the leases to stand at the last number checkpointed", at_last_number, 5)
    code, _ = daemon.stop()
    check(code == 143, "after SIGTERM the daemon's exit code was %s, not 143" % code)
    for shard in sorted(young):
        last = [" ".join(w[1:]) for w in lines() if w[0] == shard][-2:]
        check(last == ends_with, "the child of %s ended with %s, not with %s" % (shard, last, ends_with))
    per_shard = sorted(received(k) for k in [parent, *young])
    check(per_shard == [47, 53, 200], "the shards delivered %s records, not 47, 53 and 200" % per_shard)
    daemon.no_children(2, "after the end of the daemon")


V3 = ["shutdownRequested checkpointed", "leaseLost"]
V2 = ["shutdownRequested checkpointed", "shutdown ZOMBIE"]


def kclpy(world, app):
    return "%s %s" % (world.tools.kclpy(), os.path.join(CLIENTS, app))


@test("kclpy-polling")
def _(world):
    """amazon_kclpy (v3 class): 300 records over a split, polling."""
    course(world, world.embedded(), kclpy(world, "app_v3.py"), "POLLING", V3)


@test("kclpy-fanout")
def _(world):
    """amazon_kclpy (v3 class): 300 records over a split, enhanced fan-out."""
    course(world, world.embedded(), kclpy(world, "app_v3.py"), "FANOUT", V3)


@test("kclpy-v2")
def _(world):
    """amazon_kclpy (v2 class): the same course; the library turns leaseLost into shutdown(ZOMBIE)."""
    course(world, world.embedded(), kclpy(world, "app_v2.py"), "POLLING", V2)


@test("shell-child")
def _(world):
    """The smallest conforming child, a POSIX shell script: the same course."""
    course(world, world.embedded(), "sh " + os.path.join(CLIENTS, "app.sh"), "POLLING",
           ["shutdownRequested checkpointed", "leaseLost"])


@test("second-opinion")
def _(world):
    """The same course on DynamoDB Local and npm's kinesis-local (polling; it cannot end a shard in fan-out)."""
    course(world, world.second_opinion(), kclpy(world, "app_v3.py"), "POLLING", V3)


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
