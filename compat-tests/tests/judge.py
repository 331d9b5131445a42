"""The judge of the fleets notices every way of breaking a law."""
from harness import judge
from harness.judge import Delivery, Event, Put, Session, Stored
from harness.runner import test
from harness.world import check

#: Three records of one key: two in shard a, worked on by w1, then w2; one in its child b.
PUTS = [Put(1, "a", 10, "k", 0), Put(2, "a", 20, "k", 1), Put(5, "b", 30, "k", 2)]
DELIVERIES = [Delivery(1.1, "w1", 1, "a", 10, "k", 0), Delivery(4, "w2", 2, "a", 20, "k", 1), Delivery(5.1, "w2", 3, "b", 30, "k", 2)]
SESSIONS = [Session(0.5, "w1", 1, "a", -1), Session(3.5, "w2", 2, "a", 10), Session(4.5, "w2", 3, "b", -1)]
STORED = [Stored(1.2, "w1", 1, "a", 10), Stored(4.1, "w2", 2, "a", 20)]
EVENTS = [Event(3, "stop", "w1", "SIGTERM of w1")]

BREAKS = {
    "lost": dict(deliveries=DELIVERIES[:2]),
    "never put": dict(deliveries=DELIVERIES + [Delivery(6, "w2", 3, "b", 31, "k", 3)]),
    "twice": dict(deliveries=DELIVERIES + [Delivery(3.6, "w2", 2, "a", 10, "k", 0)], sessions=[
        SESSIONS[0], SESSIONS[1]._replace(begin=-1), SESSIONS[2]]),
    "order: w2 was given": dict(deliveries=DELIVERIES + [Delivery(4.2, "w2", 2, "a", 10, "k", 0)]),
    "order: k:0 came": dict(deliveries=[DELIVERIES[0]._replace(t=6)] + DELIVERIES[1:]),
    "rewind": dict(sessions=[SESSIONS[0], SESSIONS[1]._replace(begin=9), SESSIONS[2]]),
    "two at once": dict(deliveries=DELIVERIES + [Delivery(4.5, "w1", 1, "a", 20, "k", 1)]),
}


def judged(deliveries=(), sessions=(), events=()):
    return judge.Verdict(PUTS, list(deliveries or DELIVERIES), list(sessions or SESSIONS), STORED, list(events or EVENTS))


@test("judge")
def _(world):
    """The judge of the fleets passes a sound history and notices every way of spoiling it."""
    check(not judged().broken(), "a sound history was judged %s" % judged().broken())
    for said, spoilt in BREAKS.items():
        check(any(b.startswith(said) for b in judged(**spoilt).broken()), "nothing was said of '%s': %s" % (
            said, judged(**spoilt).broken()))
    crash = [Event(3, "crash", "w1", "kill -9 of w1")]
    check(not judged(events=crash, **BREAKS["twice"]).no_idle_repeats(), "a repeat after a crash was held against the fleet")
    back = [Event(0.1, "crash", "w1", "SIGSTOP of w1"), Event(0.2, "back", "w1", "SIGCONT of w1")]
    check(judged(events=back, **BREAKS["twice"]).no_idle_repeats(), "a repeat of what a worker had after its freeze was excused")
    v = judged()
    check(v.waits() == {"a": (2, "SIGTERM of w1"), "b": (5.1 - 5, "SIGTERM of w1")}, "the waits were %s" % v.waits())
    check(v.waits_after("SIGTERM of w1")["a"] == 2, "the wait after the stop was %s" % v.waits_after("SIGTERM of w1"))
    check(v.resumed("SIGTERM of w1", "w1") == {"a": 1}, "resumed: %s" % v.resumed("SIGTERM of w1", "w1"))
    for name in ("twice", "two at once"):
        said = next(b for b in judged(**BREAKS[name]).broken() if b.startswith(name))
        for failover, thief, excused in ((4, "w2", True), (4, "w1", True), (4, "java", False), (-20, "w1", False)):
            check(judge.stolen(failover, thief)(said) == excused, "stolen(%s, %s) of: %s" % (failover, thief, said))
    check(not judge.stolen(4)("lost: k:0, number 10 of a, put at 1.0"), "a lost record was excused as stolen")
