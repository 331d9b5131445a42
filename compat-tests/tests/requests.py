"""Our requests to the lease table beside those of the captured Java daemons, scenario by scenario."""
import copy
import os
import signal

from harness import old_tables, world as worlds
from harness.ecs import EcsMetadata
from harness.recording import (AS_2X, NOT_NEEDED, ONE_TABLE, OURS_ALONE, THREE_TABLES, Recording, as_java, compare, matches,
                               missing, of_captures, strange)
from harness.runner import test
from harness.shapes import shape
from harness.world import check

PHASE1 = "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1"
COMPATIBLE = "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X"
#: A request of each kind, as sent.
RENEWAL = {"TableName": "any", "Key": {"leaseKey": {"S": "shardId-000000000001"}},
           "AttributeUpdates": {"leaseCounter": {"Action": "PUT", "Value": {"N": "13"}}},
           "Expected": {"leaseCounter": {"Value": {"N": "12"}}, "checkpointOwner": {"Exists": False}},
           "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
HEARTBEAT = {"TableName": "any-CoordinatorState", "Key": {"key": {"S": "Leader"}},
             "ConditionExpression": "attribute_exists(#pk) AND #rvn = :rvn AND #on = :on",
             "UpdateExpression": "SET #ld=:ld, #rvn=:new",
             "ExpressionAttributeNames": {"#pk": "key", "#rvn": "recordVersionNumber", "#on": "ownerName", "#ld": "leaseDuration"},
             "ExpressionAttributeValues": {n: {"S": "x"} for n in (":rvn", ":on", ":ld", ":new")}}
#: Takes five minutes, and is the heavy test `requests-cleanup`.
CLEANUP = r"DeleteItem leases \[leaseKey=lease\]$"
#: Not needed where a scan, or the answer to a write, has shown the lease.
READ = r"GetItem leases \[leaseKey=lease\]$"
#: Who leads, or takes leases as 2.x, learns of its own from the scan.
ASK_INDEX = r"Query leases "
#: Who leaves gives its leases to others who live; only alone it gives them back to nobody.
EVICT = r"UpdateItem leases \[leaseKey=lease\] .*leaseOwner DELETE"


def begins(r, worker):
    """The first renewals come before the first record, so without a throughput; then records are read."""
    plain = shape("UpdateItem", RENEWAL)
    worker.wait_for("a renewal without a throughput", lambda: plain in r.sent(worker), 60)
    r.stream.put(60)
    r.read_by(worker)


def shared(r, *workers):
    """Each of them holds leases, nobody else does, and no handoff is under way; records flow, without which Java shares nothing."""
    def so():
        r.stream.put(12)
        rows = [row for row in r.app.leases().values() if row["checkpoint"]["S"] != "SHARD_END"]
        return {row.get("leaseOwner", {}).get("S") for row in rows} == {w.name for w in workers} and not any(
            "checkpointOwner" in row for row in rows)
    workers[0].wait_for("the leases to be shared", so, 120, 0.25)


def resharded(r, *workers):
    """Shard 0 of three is split, the other two are merged, and all of it is read."""
    r.stream.split("shardId-000000000000")
    r.stream.merge("shardId-000000000001", "shardId-000000000002")
    r.stream.put(60)
    r.read_by(*workers)
    workers[0].wait_for("three finished shards", lambda: list(r.app.checkpoints().values()).count("SHARD_END") == 3, 60)


@test("requests-one-table", waits=True)
def _(world):
    """A first start, two more workers, half a quiet minute, checkpoints, a split, a merge, a planned stop: as captured."""
    captures = ["first-start-351", "steady-351-two-workers", "checkpoint-351", "split-351", "merge-and-cleanup-351"]
    r = Recording(world, shards=3)
    w1 = r.worker("w1")
    begins(r, w1)
    w2 = r.worker("w2")
    shared(r, w1, w2)
    w3 = r.worker("w3")             # neither leads nor comes next: it asks the index
    shared(r, w1, w2, w3)
    resharded(r, w1, w2, w3)
    r.await_all([w1, w2, w3], captures, [CLEANUP])
    w1.stop()
    r.stream.put(60)
    r.read_by(w2, w1, w3)
    w3.stop()
    w2.stop()
    compare(world, r.sent(w1, w2, w3), ONE_TABLE, captures, [CLEANUP])


@test("requests-cleanup", heavy=True, waits=True)
def _(world):
    """Finished leases are deleted as captured, five minutes after (three leases: a split parent, two merged ones)."""
    r = Recording(world, shards=3)
    w1 = r.worker("w1")
    begins(r, w1)
    resharded(r, w1)
    w1.wait_for("the finished leases to go", lambda: len(r.app.leases()) == 3, 400, 1)
    w1.stop()
    compare(world, r.sent(w1), ONE_TABLE, ["merge-and-cleanup-351"], [ASK_INDEX])


@test("requests-ecs", waits=True)
def _(world):
    """On a fake ECS task, with deletion protection: table and metric row as captured; and the wish for recovery of a table."""
    endpoint, captures = EcsMetadata(), ["ecs-cpu-metric-351"]
    try:
        r = Recording(world)
        w1 = r.worker("w1", env=dict(ECS_CONTAINER_METADATA_URI_V4=endpoint.uri), leaseTableDeletionProtectionEnabled="true",
                      workerMetricsReporterFreqInMillis="3000")
        # As with DynamoDB Local in the capture, the backend knows of no recovery, and the start is tried again and again.
        w1pitr = r.worker("w1pitr", applicationName="recorded-pitr", leaseTablePitrEnabled="true")
        begins(r, w1)
        w1.wait_for("point-in-time recovery to be asked for", lambda: any(
            s.startswith("UpdateContinuousBackups") for s in r.sent(w1pitr)), 30)
        w1pitr.stop(signal.SIGKILL)
        r.await_all([w1, w1pitr], captures, [READ, ASK_INDEX])
        w1.stop()
        compare(world, r.sent(w1, w1pitr), ONE_TABLE, captures, [READ, ASK_INDEX])
    finally:
        endpoint.close()


@test("requests-three-tables", waits=True)
def _(world):
    """Ours in the tables of a killed 3.1.3, leads there, and moves into one table: as captured."""
    r = Recording(world)
    old_tables.left_by_313(r.app, r.stream, 3000)
    r.stream.put(60)
    w1 = r.worker("w1")
    r.read_by(w1)
    r.migration(w1, "INIT")
    r.age_migration(2)
    r.migration(w1, "DEPLOYED")
    r.await_all([w1], THREE_TABLES[:1], [READ, ASK_INDEX])
    w1.stop()
    w2 = r.worker("w2", migrateAllEntitiesToLeaseTable="true")
    r.stream.put(60)
    r.read_by(w2, w1)
    r.migration(w2, "PENDING")
    r.age_migration(48)
    r.migration(w2, "COMPLETE")
    r.stream.put(60)
    r.read_by(w2, w1)
    r.await_all([w2, w1], THREE_TABLES, [READ, ASK_INDEX])
    w2.stop()
    compare(world, r.sent(w1, w2), ONE_TABLE + THREE_TABLES, THREE_TABLES, [READ, ASK_INDEX])


@test("requests-phase1", waits=True)
def _(world):
    """Two workers of ours in PHASE1 on a table made by 2.5.4 take from each other as captured, and write nothing but leases."""
    captures = ["phase1-351-with-254"]
    r = Recording(world, shards=4, clientVersionConfig=PHASE1)
    old_tables.empty_254(r.app)
    w1 = r.worker("w1")
    begins(r, w1)
    w2 = r.worker("w2")
    shared(r, w1, w2)
    r.stream.put(60)
    r.read_by(w1, w2)
    r.await_all([w1, w2], captures)
    w1.stop()
    w2.stop()
    check(set(r.app.rows()) == set(r.app.leases()), "rows that are no leases: %s" % set(r.app.rows()))
    compare(world, r.sent(w1, w2), AS_2X, captures)


def after_254(r):
    """A worker of ours in COMPATIBLE_WITH_2X, strictly as Java, on the leases of a killed 2.5.4, which it has taken and read."""
    old_tables.left_by_254(r.app, r.stream)
    w1 = r.worker("w1", clientVersionConfig=COMPATIBLE, **{"multilangd.compatibility": "strict"})
    begins(r, w1)
    return w1


@test("requests-compatible", waits=True)
def _(world):
    """Ours joins the table of a killed 2.5.4 in COMPATIBLE_WITH_2X, strictly as Java: item, index, metric row, takes."""
    captures = ["compat2x-351-joins-254"]
    r = Recording(world, shards=4)
    w1 = after_254(r)
    r.await_all([w1], captures, [READ])
    w1.stop()
    compare(world, r.sent(w1), AS_2X, captures, [READ])


@test("requests-flip", heavy=True, waits=True)
def _(world):
    """Ours alone in COMPATIBLE_WITH_2X for ten minutes, and the change to 3.x: as captured."""
    r = Recording(world, shards=4)
    w1 = after_254(r)
    w1.wait_for("the change", lambda: r.app.coordinator_row("Migration3.0").get("cv", {}).get("S", "").endswith("3X_WITH_ROLLBACK"),
                780, 1)
    w1.wait_for("the lock", r.app.lock, 120)
    r.stream.put(60)
    r.read_by(w1)
    w1.stop()
    compare(world, r.sent(w1), ONE_TABLE + AS_2X, ["flip-to-3x-351"])


@test("requests-two-leaders", waits=True)
def _(world):
    """Old tables appear beside an application in one table: a worker of ours that starts then writes nothing, and ends."""
    captures = ["two-leaders-by-accident-351"]
    r = Recording(world)
    w1 = r.worker("w1")
    r.stream.put(40)
    r.read_by(w1)
    w1.wait_for("w1 to lead", r.app.lock, 30)
    old_tables.empty_313(r.app)
    w3 = r.worker("w3")
    code, _ = w3.ended(90)
    check(code == 1, "the second worker ended with exit code %s, not 1" % code)
    r.stream.put(40)
    r.read_by(w1)
    r.await_all([w1], captures, [ASK_INDEX])
    w1.stop()
    written = [s for s in r.sent(w3) if not s.startswith(("GetItem ", "DescribeTable ", "Scan "))]
    check(not written, "the second worker wrote: %s" % written)
    compare(world, r.sent(w1, w3), ONE_TABLE + THREE_TABLES, captures, [ASK_INDEX])


@test("requests-under-java", heavy=True, waits=True)
def _(world):
    """Ours under a leader of Java 3.5.1: given leases by handoff, gives them to a second Java worker, leaves; as captured."""
    r = Recording(world, shards=6)
    javas = [r.java("java-%d" % n, "3.5.1") for n in (1, 2)]
    javas[0].start()
    r.stream.put(60)
    r.read_by(javas[0], seconds=240)
    ours = r.worker("ours")
    shared(r, ours, javas[0])
    r.stream.put(60)
    r.read_by(ours, javas[0])
    javas[1].start()
    shared(r, ours, *javas)
    r.stream.put(60)
    r.read_by(ours, *javas)
    ours.stop()
    compare(world, r.sent(ours), ONE_TABLE, ["foreign-worker-under-351-leader"], [READ, EVICT], makes=["foreign"])


@test("requests-selftest")
def _(world):
    """The comparison of requests finds nothing in Java's own and notices each change; README.md says why of each difference."""
    captured = of_captures(ONE_TABLE + THREE_TABLES + AS_2X)
    for request in (RENEWAL, HEARTBEAT):
        check(shape("UpdateItem", request) in captured, "not captured: %s" % shape("UpdateItem", request))
    for path, value in ((("Expected", "leaseCounter"), None),
                        (("Expected", "checkpointOwner"), {"Exists": True, "Value": {"S": "x"}}),
                        (("AttributeUpdates", "leaseCounter", "Action"), "ADD"),
                        (("AttributeUpdates", "leaseOwner"), {"Action": "DELETE"}),
                        (("AttributeUpdates", "leaseCounter", "Value"), {"S": "13"}), (("ReturnValues",), "UPDATED_NEW"),
                        (("Key", "leaseKey", "S"), "Leader"), (("TableName",), "any-WorkerMetricStats")):
        request = copy.deepcopy(RENEWAL)
        inside = request
        for step in path[:-1]:
            inside = inside[step]
        inside.pop(path[-1]) if value is None else inside.update({path[-1]: value})
        check(strange([shape("UpdateItem", request)], ONE_TABLE), "a renewal with another %s goes unnoticed" % ".".join(path))
    free = {**HEARTBEAT, "ConditionExpression": "attribute_exists(#pk) AND #rvn = :rvn"}
    check(strange([shape("UpdateItem", free)], THREE_TABLES), "a heartbeat without its owner goes unnoticed")
    for captures in (ONE_TABLE, THREE_TABLES, AS_2X):
        java = of_captures(captures)
        check(not strange(java, captures) and not missing(java, captures), "Java's own requests differ from themselves")
        unseen = [s for s in java if not matches(s, NOT_NEEDED.values()) and missing(java - {s}, captures) != [s]]
        # Some differ from another one of Java's only by what the answer is to hold.
        check(all(as_java(s, java - {s}) for s in unseen), "its absence goes unnoticed: %s" % unseen)
    with open(os.path.join(worlds.COMPAT, "README.md")) as f:
        readme = f.read()
    unsaid = [name for name in [*OURS_ALONE, *NOT_NEEDED] if "| %s |" % name not in readme]
    check(not unsaid, "README.md does not say why: %s" % unsaid)
