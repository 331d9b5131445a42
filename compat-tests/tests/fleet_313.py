"""Fleets with the Java daemon 3.1.3, which keeps lock and metric rows in tables of their own; and the way to one table."""
from harness.fleet import Fleet
from harness.runner import test

JAVA = "3.1.3"


@test("fleet-313-there-and-back", waits=True)
def _(world):
    """Java 3.1.3 -> ours -> Java 3.1.3 on three tables: join by handoff, leave by SIGTERM, each leading in turn."""
    with Fleet(world, leases_only=True, invariants=("--require-metrics",)) as f:
        old = f.start(JAVA)
        f.flowing(180)
        ours = f.start("ours")
        f.shared_by(old, ours, seconds=120)
        f.settled()
        f.stop(old)
        f.shared_by(ours)
        f.led_by(ours)
        f.settled()
        back = f.start(JAVA)
        f.shared_by(ours, back, seconds=120)
        f.settled()
        f.stop(ours)
        f.shared_by(back)
        f.led_by(back)


@test("fleet-313-killed", heavy=True, waits=True)
def _(world):
    """Java 3.1.3 leads 3.5.1 and ours on three tables; split; kill -9 of the leader, then of whoever leads next."""
    with Fleet(world, shards=6, leases_only=True, invariants=("--require-metrics",)) as f:
        old = f.start(JAVA)
        f.flowing(180)
        new = f.start("3.5.1")
        f.shared_by(old, new, seconds=120)
        ours = f.start("ours")
        f.shared_by(old, new, ours, seconds=120)
        f.split("shardId-000000000000")
        f.settled()
        f.kill(old)
        f.shared_by(new, ours, seconds=240)
        f.settled()
        f.wait_for("one of the two left to lead", f.leader, 240)
        leader = f.leader()
        f.kill(leader)
        last = ours if leader is new else new
        f.shared_by(last, seconds=240)
        f.led_by(last, seconds=240)


@test("fleet-to-one-table", heavy=True, waits=True)
def _(world):
    """An application of 3.1.3 taken over by ours and moved to one table (bake times by moving the item's clock); then 3.5.1 joins."""
    with Fleet(world) as f:
        old = f.start(JAVA)
        f.flowing(180)
        ours = [f.start("ours")]
        f.shared_by(old, ours[0], seconds=120)
        f.stop(old)
        f.shared_by(ours[0])
        f.led_by(ours[0])
        f.table_migration("INIT", 180)
        f.age_table_migration(2)
        f.table_migration("DEPLOYED", 180)
        two = [f.start("ours", migrateAllEntitiesToLeaseTable="true")]
        f.shared_by(ours[0], two[0])
        two.append(f.start("ours", migrateAllEntitiesToLeaseTable="true"))
        f.shared_by(ours[0], *two)
        f.stop(ours[0])
        f.shared_by(*two)
        f.table_migration("PENDING", 240)
        f.age_table_migration(48)
        f.table_migration("COMPLETE", 240)
        java = f.start("3.5.1")
        f.shared_by(java, *two, seconds=120)
        f.settled()
        for w in two:
            f.stop(w)
        f.shared_by(java)
        f.led_by(java)
