"""The full course of a client: 200 records, a split while running, 100 more, SIGTERM."""
from . import world as worlds
from .world import check, wait_for

PARENT = "shardId-000000000000"
#: What the parent's child program says at the end of its shard: that it checkpointed there.
CHECKPOINTED = ("shardEnded checkpointed", "shutdown checkpointed")


class Probe:
    """What the child programs wrote down: a line an event, the shard first."""

    def __init__(self, world):
        self.path = world.path("probe")

    def lines(self, shard=None):
        """The words of each line, without the shard."""
        words = [line.split() for line in worlds.lines_of(self.path)[:-1]]
        return [w[1:] for w in words if shard in (None, w[0])]

    def received(self, shard=None):
        return sum(int(w[1]) for w in self.lines(shard) if w[0] == "records")

    def last(self, shard, count):
        return [" ".join(w) for w in self.lines(shard)][-count:] if count else []

    def heard(self, shard, *beginnings):
        return any(" ".join(w).startswith(beginnings) for w in self.lines(shard))


def running(world, shards=2, wait_for_checkpoint=True, env=None, **properties):
    """A daemon that has delivered a record of each shard."""
    backend = world.embedded()
    stream, app = backend.stream("stopping", shards), backend.application("stopping-app")
    stream.put_to_all("one")
    daemon = world.daemon(app, stream=stream, env=env, **{**worlds.QUICK, **properties}).start()
    daemon.wait_for("a record of each shard", lambda: len(daemon.records()) >= shards, 90)
    if wait_for_checkpoint:
        daemon.wait_for("a checkpoint of each shard", lambda: len(
            [c for c in app.checkpoints().values() if c.isdigit()]) == shards, 10)
    return backend, stream, app, daemon


def course(world, backend, child, ends_with, at_end=CHECKPOINTED, env=None, **properties):
    """Runs `child` through it. With these keys 53 and 47 of the last 100 records land in the two child shards.

    `ends_with` is what the child programs of open shards say last, `at_end` how the parent's says that its shard ended.
    """
    stream, app = backend.stream("course", 1), backend.application("course-app")
    stream.put(200)
    probe = Probe(world)
    daemon = world.daemon(app, stream=stream, env=dict(env or {}, PROBE_LOG=probe.path), executableName=child,
                          shutdownGraceMillis="15000", **worlds.QUICK, **properties).start()
    daemon.wait_for("a first checkpoint", lambda: app.checkpoints().get(PARENT, "").isdigit(), 60)
    daemon.wait_for("200 records at the child", lambda: probe.received() >= 200, 30)
    stream.split(PARENT)
    stream.put(100, first=100000)
    # The parent's row may be cleaned away as soon as both children have begun, so its end is looked for on the way.
    seen = {}

    def done():
        seen.update(app.checkpoints())
        young = [c for k, c in app.checkpoints().items() if k != PARENT]
        return probe.received() >= 300 and len(young) == 2 and all(c.isdigit() for c in young)
    daemon.wait_for("300 records and two child shards with checkpoints", done, 60, step=0.05)
    check(seen.get(PARENT) == "SHARD_END", "the parent lease stood at %s, not at SHARD_END" % seen.get(PARENT))
    wait_for("the parent's child program to hear of the end", lambda: probe.heard(PARENT, *at_end), 5)
    last = {k: number for k, (_, number) in stream.last_numbers().items() if k != PARENT}
    daemon.wait_for("both child leases to stand at the last number of their shard",
                    lambda: {k: c for k, c in app.checkpoints().items() if k != PARENT} == last, 10)
    code, _ = daemon.stop()
    check(code == 143, "after SIGTERM the daemon's exit code was %s, not 143" % code)
    for shard in sorted(last):
        said = probe.last(shard, len(ends_with))
        check(said == ends_with, "the child of %s ended with %s, not with %s" % (shard, said, ends_with))
    per_shard = sorted(probe.received(k) for k in [PARENT, *last])
    check(per_shard == [47, 53, 200], "the shards delivered %s records, not 47, 53 and 200" % per_shard)
    daemon.no_children(2, "after the end of the daemon")


def big_line(world, backend, child, ends_with, env=None, **properties):
    """One batch of ten records of 1,000,000 bytes, 13.3 MB in one line, whose keys hold U+2028, quotes and accents."""
    stream, app = backend.stream("big", 1), backend.application("big-app")
    for i in range(10):
        backend.kinesis.put_record(StreamName=stream.name, Data=b"x" * 1000000,
                                   PartitionKey='pk%d \u00e9\u2028\u2029 "q"' % i)
    probe = Probe(world)
    daemon = world.daemon(app, stream=stream, env=dict(env or {}, PROBE_LOG=probe.path), executableName=child,
                          shutdownGraceMillis="15000", **worlds.QUICK, **properties).start()
    (_, last), = stream.last_numbers().values()
    daemon.wait_for("a checkpoint at the last of ten records", lambda: app.checkpoints().get(PARENT) == last, 60)
    check(["records", "10"] in [w[:2] for w in probe.lines()], "the ten records did not come in one line: %s" % [
        " ".join(w[:2]) for w in probe.lines()])
    code, _ = daemon.stop()
    check(code == 143, "after SIGTERM the daemon's exit code was %s, not 143" % code)
    said = probe.last(PARENT, len(ends_with))
    check(said == ends_with, "the child ended with %s, not with %s" % (said, ends_with))
    daemon.no_children(2, "after the end of the daemon")
