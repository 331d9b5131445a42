"""Mixed fleets with the Java daemon 3.5.1 on one table: joining, leaving, dying, splitting, both leading in turn."""
from harness.fleet import SLOW, Fleet
from harness.runner import test

JAVA = "3.5.1"
TABLE = ("--require-metrics", "--require-index")


@test("fleet-there-and-back", waits=True)
def _(world):
    """Ours -> Java 3.5.1 -> ours: join by handoff, leave by SIGTERM, each leading in turn; nothing twice."""
    with Fleet(world, invariants=TABLE) as f:
        ours = f.start("ours", env=SLOW)
        f.flowing()
        java = f.start(JAVA, env=SLOW)
        f.shared_by(ours, java)
        f.settled()
        f.stop(ours)
        f.shared_by(java)
        f.led_by(java)
        f.settled()
        again = f.start("ours", env=SLOW)
        f.shared_by(java, again)
        f.settled()
        f.stop(java)
        f.shared_by(again)
        f.led_by(again)


@test("fleet-reshard", waits=True)
def _(world):
    """Split and merge while ours leads a Java 3.5.1 worker, then while Java leads ours."""
    with Fleet(world, shards=2, invariants=TABLE) as f:
        ours = f.start("ours")
        f.flowing()
        java = f.start(JAVA)
        f.shared_by(ours, java)
        f.split("shardId-000000000000")
        f.settled()
        f.split("shardId-000000000001")
        f.settled()
        f.merge("shardId-000000000003", "shardId-000000000004")
        f.settled()
        f.shared_by(ours, java)
        f.stop(ours)
        f.led_by(java)
        f.shared_by(java)
        again = f.start("ours")
        f.shared_by(again, java)
        f.split("shardId-000000000006")
        f.settled()
        f.merge("shardId-000000000007", "shardId-000000000008")
        f.settled()
        f.shared_by(again, java)


@test("fleet-follower-killed", waits=True)
def _(world):
    """kill -9 of a Java 3.5.1 follower under our lead, and of ours under Java's."""
    with Fleet(world, invariants=TABLE) as f:
        ours = f.start("ours")
        f.flowing()
        java = f.start(JAVA)
        f.shared_by(ours, java)
        f.kill(java)
        f.shared_by(ours)
        f.settled()
        java = f.start(JAVA)
        f.shared_by(ours, java)
        f.stop(ours)
        f.led_by(java)
        f.shared_by(java)
        ours = f.start("ours")
        f.shared_by(ours, java)
        f.kill(ours)
        f.shared_by(java)


@test("fleet-our-leader-killed", waits=True)
def _(world):
    """kill -9 of ours while it leads a Java 3.5.1 worker: Java takes over when the lock has run out."""
    with Fleet(world, invariants=TABLE) as f:
        ours = f.start("ours")
        f.flowing()
        java = f.start(JAVA)
        f.shared_by(ours, java)
        f.kill(ours)
        f.shared_by(java, seconds=240)
        f.led_by(java)


@test("fleet-java-leader-killed", waits=True)
def _(world):
    """kill -9 of Java 3.5.1 while it leads ours: ours takes the leases at once, the lock when it has run out."""
    with Fleet(world, invariants=TABLE) as f:
        first = f.start("ours")
        f.flowing()
        java = f.start(JAVA)
        f.shared_by(first, java)
        f.stop(first)
        f.led_by(java)
        f.shared_by(java)
        ours = f.start("ours")
        f.shared_by(ours, java)
        f.kill(java)
        f.shared_by(ours, seconds=240)
        f.led_by(ours, seconds=240)


@test("fleet-java-first", heavy=True, waits=True)
def _(world):
    """Two Java 3.5.1 workers from an empty table; ours replaces them one by one and is replaced again."""
    with Fleet(world, invariants=TABLE) as f:
        one = f.start(JAVA)
        f.flowing(180)
        two = f.start(JAVA)
        f.shared_by(one, two, seconds=180)
        ours = f.start("ours")
        f.shared_by(one, two, ours, seconds=180)
        f.stop(one)
        f.shared_by(two, ours)
        more = f.start("ours")
        f.shared_by(two, ours, more, seconds=180)
        f.stop(two)
        f.shared_by(ours, more)
        f.settled()
        back = f.start(JAVA)
        f.shared_by(ours, more, back, seconds=180)
        f.stop(ours)
        f.shared_by(more, back, seconds=180)
        f.stop(more)
        f.shared_by(back, seconds=180)
