"""A shard that begins at LATEST, and a process that ends before the first checkpoint."""
import signal
import time

from harness import java, world as worlds
from harness.runner import test
from harness.world import check

LATEST = {"initialPositionInStream": "LATEST", "failoverTimeMillis": "3000"}
#: Records are delivered, but nothing is checkpointed.
UNCHECKPOINTED = dict(CHECKPOINT="none", FORGET_ON="shutdownRequested")


def noted(app):
    return [r for r in app.leases().values() if r.get("pendingCheckpoint") == {"S": "LATEST"}]


def texts(daemon):
    return [text for _, _, text in daemon.records()]


def begun_at_latest(world):
    """A daemon of ours that began at LATEST, was given one record, and is killed without a checkpoint."""
    backend = world.embedded()
    stream, app = backend.stream("latest", 1), backend.application("latest-app")
    stream.put_to_all("before")
    time.sleep(3)  # the moment is taken from a date in whole seconds, less a second for clocks that differ
    first = world.daemon(app, stream=stream, name="first", env=UNCHECKPOINTED, **{**worlds.QUICK, **LATEST}).start()
    first.wait_for("the moment of LATEST in the lease", lambda: noted(app), 30)
    stream.put_to_all("given")
    first.wait_for("a record", lambda: first.records(), 30)
    first.stop(signal.SIGKILL)
    check(texts(first) == ["given"], "the first was given %s" % texts(first))
    stream.put_to_all("between")
    return stream, app


@test("latest-restart")
def _(world):
    """kill -9 before the first checkpoint at LATEST: the next process is given what came since the first began, and nothing older."""
    stream, app = begun_at_latest(world)
    second = world.daemon(app, stream=stream, name="second", **{**worlds.QUICK, **LATEST}).start()
    second.wait_for("what came in between", lambda: "between" in texts(second), 30)
    check(texts(second) == ["given", "between"], "the second was given %s" % texts(second))
    second.wait_for("a checkpoint", lambda: not noted(app), 10)
    second.stop()


@test("latest-and-java", heavy=True)
def _(world):
    """The Java daemon 3.5.1 takes such a lease over: it begins at what is newest, and its checkpoint ends ours."""
    stream, app = begun_at_latest(world)
    wanted = {**worlds.QUICK, **LATEST, "leaseAssignmentIntervalMillis": "1000"}
    theirs = world.daemon(app, stream=stream, name="java", command=java.command(world.tools, "3.5.1"),
                          **java.properties("3.5.1", wanted)).start()
    theirs.wait_for("Java's child", lambda: theirs.events("initialize"), 150)
    sequence = theirs.events("initialize")[0]["sequence"]
    check(sequence == "LATEST", "Java's child was told to begin at %s" % sequence)

    def checkpointed():
        stream.put_to_all("later")
        return not noted(app)
    theirs.wait_for("a checkpoint of Java's", checkpointed, 60, step=1)
    check(set(texts(theirs)) == {"later"}, "Java's child was given %s" % texts(theirs))
    left = [n for r in app.leases().values() for n in r if n.startswith("pendingCheckpoint")]
    check(not left, "the lease still has %s" % left)
    theirs.stop()
