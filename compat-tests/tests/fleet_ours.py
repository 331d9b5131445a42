"""Fleets of ours alone: starting at one instant, planned stops, a partition, a freeze, lost leaders."""
from harness.fleet import SLOW, Fleet
from harness.runner import test

#: Seconds in which a Python child starts on a busy machine.
CHILD = 1
#: Seconds that a planned stop may hold a shard up: 2 for the daemon, and a child.
STOPPED = 2 + CHILD
#: Seconds beyond the failover time in which every shard is served again: 2 for the daemon, 2 for several children at a time.
SERVED_AGAIN = 2 + 2 * CHILD
TABLE = ("--require-metrics", "--require-index")


@test("fleet-two-at-once", waits=True)
def _(world):
    """Two workers started at the same instant on a new application both come up and share (Java's do not)."""
    with Fleet(world, invariants=TABLE) as f:
        two = f.start_together("ours", "ours")
        f.shared_by(*two)


@test("fleet-five-at-once", waits=True)
def _(world):
    """Five workers started at the same instant on a new application of ten shards all come up and share."""
    with Fleet(world, shards=10, invariants=TABLE) as f:
        five = f.start_together(*["ours"] * 5)
        f.shared_by(*five)


@test("fleet-planned-stops", waits=True)
def _(world):
    """SIGTERM of a follower and of the leader among three: no shard waits for its next worker, nothing twice."""
    with Fleet(world, shards=6, invariants=TABLE) as f:
        workers = [f.start("ours")]
        f.flowing()
        workers += [f.start("ours"), f.start("ours")]
        f.shared_by(*workers)
        f.settled()
        leader = f.leader()
        followers = [w for w in workers if w is not leader]
        f.promise(f.stop(followers[0]), STOPPED)
        f.shared_by(leader, followers[1])
        f.settled()
        f.promise(f.stop(leader), STOPPED)
        f.shared_by(followers[1])
        f.settled()
        f.led_by(followers[1])


@test("fleet-frozen", waits=True)
def _(world):
    """SIGSTOP of a worker of ours for longer than the failover time: its successor goes on, it gives nothing to its children after."""
    with Fleet(world, invariants=TABLE) as f:
        leader = f.start("ours", env=SLOW)
        f.flowing()
        frozen = f.start("ours", env=SLOW)
        f.shared_by(leader, frozen)
        f.promise(f.freeze(frozen), f.failover + SERVED_AGAIN)
        f.shared_by(leader)
        f.settled()
        f.thaw(frozen)
        f.shared_by(leader, frozen)
        f.settled()
        f.promise(f.freeze(leader), f.failover + SERVED_AGAIN)
        f.shared_by(frozen)
        f.settled()
        f.thaw(leader)
        f.settled()


@test("fleet-cut-off", waits=True)
def _(world):
    """A worker of ours that cannot reach the table, though the stream, stops at its lease's end and comes back later."""
    with Fleet(world, invariants=TABLE) as f:
        leader = f.start("ours", env=SLOW)
        f.flowing()
        other = f.start("ours", env=SLOW)
        f.shared_by(leader, other)
        f.promise(f.cut(other), f.failover + SERVED_AGAIN)
        f.shared_by(leader)
        f.settled()
        f.mend(other)
        f.shared_by(leader, other, seconds=120)


@test("fleet-our-leader-lost", waits=True)
def _(world):
    """kill -9 of the leader and then of a follower among three of ours."""
    with Fleet(world, shards=6, invariants=TABLE) as f:
        workers = [f.start("ours")]
        f.flowing()
        workers += [f.start("ours"), f.start("ours")]
        f.shared_by(*workers)
        f.settled()
        leader = f.leader()
        rest = [w for w in workers if w is not leader]
        f.promise(f.kill(leader), f.failover + SERVED_AGAIN)
        f.shared_by(*rest)
        f.settled()
        f.promise(f.kill(rest[0]), f.failover + SERVED_AGAIN)
        f.shared_by(rest[1])


@test("fleet-all-but-one-killed", waits=True)
def _(world):
    """kill -9 of one after the other of four of ours, leader first: each is missed though the next one dies as soon as it has its leases."""
    with Fleet(world, shards=8, invariants=TABLE) as f:
        workers = [f.start("ours")]
        f.flowing()
        workers += f.start_together(*["ours"] * 3)
        f.shared_by(*workers)
        f.settled()
        leader = f.leader()
        left = [leader] + [w for w in sorted(workers, key=lambda w: w.name) if w is not leader]
        # A shard may go to the next victim each time, and wait a failover time more before anybody reads it.
        for kills in range(1, len(workers)):
            f.promise(f.kill(left.pop(0)), (kills + 1) * f.failover + SERVED_AGAIN)
            f.shared_by(*left)
        f.settled()
