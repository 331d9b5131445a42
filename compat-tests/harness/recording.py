"""Workers of ours whose requests to the table are recorded whole, and the comparison with what Java was seen to send."""
import collections
import itertools
import json
import re
import subprocess
import sys
import time

from . import java, shapes, world as worlds
from .fleet import PROXY
from .world import check, wait_for

ONE_TABLE = ("first-start-351", "checkpoint-351", "split-351", "merge-and-cleanup-351", "steady-351-two-workers",
             "foreign-worker-under-351-leader", "ecs-cpu-metric-351", "two-leaders-by-accident-351")
THREE_TABLES = ("351-opens-tables-of-313", "single-table-migration-351")
AS_2X = ("compat2x-351-joins-254", "phase1-351-with-254", "flip-to-3x-351")

#: The makes whose requests count as Java's: 3.5.1 itself, and a worker that a leader of 3.5.1 put up with when captured.
MAKES = ("3.5.1", "foreign")

#: What we ask for in an answer where Java asks for less: ours, Java's.
ANSWERS = (
    (" ReturnValuesOnConditionCheckFailure=ALL_OLD", ""),
    (" ReturnValues=ALL_NEW", ""),
    (" ReturnValues=ALL_OLD", " ReturnValues=ALL_NEW"),
    (" ReturnValues=ALL_OLD", ""),
)

LEASE = r"UpdateItem leases \[leaseKey=lease\] "
ITS_LOCK = r"ConditionExpression\(attribute_exists\((leaseKey|key)\) AND recordVersionNumber = S AND ownerName = S\)"
#: Shapes of ours that are in no capture. The table in README.md says of each, by its name, why a Java peer does not mind.
OURS_ALONE = {
    "assigns a lease that has an owner":
        LEASE + r"Expected\(checkpointOwner is absent, leaseKey is exists and S, leaseOwner is S\) AttributeUpdates\("
                r"checkpointOwner DELETE, leaseCounter ADD N, leaseOwner PUT S, ownerSwitchesSinceCheckpoint ADD N\)",
    "takes an expired lease itself":
        LEASE + r"Expected\(leaseCounter is N\) AttributeUpdates\("
                r"checkpointOwner DELETE, leaseCounter PUT N, leaseOwner PUT S, ownerSwitchesSinceCheckpoint ADD N\)",
    "gives a lease back while it works as 2.x":
        LEASE + r"Expected\(checkpointOwner is absent, leaseKey is exists and S, leaseOwner is S\) AttributeUpdates\("
                r"checkpointOwner DELETE, leaseCounter ADD N, leaseOwner DELETE\)",
    "notes children at the end of the shard":
        LEASE + r"Expected\(leaseCounter is N\) AttributeUpdates\(checkpoint PUT S, checkpointSubSequenceNumber PUT N, "
                r"childShardIds PUT SS, ",
    "notes the throughput with a checkpoint":
        LEASE + r"Expected\(leaseCounter is N\) AttributeUpdates\(checkpoint PUT S, [^()]*, throughputKBps PUT N\)",
    "takes its metric row away": r"DeleteItem (leases \[leaseKey|metrics \[wid)=worker\] ConditionExpression\(lut = N\)$",
    "gives the lock back": r"DeleteItem (leases|coordinator) \[(leaseKey|key)=Leader\] " + ITS_LOCK + "$",
    "takes the free lock of the old table":
        r"PutItem coordinator \[key=Leader\] {entityType:S leaseDuration:S ownerName:S recordVersionNumber:S} "
        r"ConditionExpression\(attribute_not_exists\(key\)\)$",
    "changes the client version":
        r"UpdateItem leases \[leaseKey=Migration3.0\] Expected\(cv is S, leaseKey is S\) AttributeUpdates\("
        r"cv PUT S, h PUT L\[M{cv:S mb:S mts:N}\], mb PUT S, mts PUT N\)$",
    "looks for a leader before it works as 2.x": r"GetItem leases \[leaseKey=Leader\] ConsistentRead=true$",
}
#: Shapes of the captures that we have no need of, and why is in README.md too.
NOT_NEEDED = {
    "scans a table as its only segment": r"Scan leases Segment=0 TotalSegments=1$",
    "scans for the metric rows alone": r"Scan leases FilterExpression\(entityType = S\)$",
    "looks for the old table of metric rows": r"DescribeTable metrics$",
}


class Recording:
    """A stream, an application, and workers behind a proxy port each."""

    def __init__(self, world, shards=2, **properties):
        self.world, self.backend = world, world.embedded()
        self.stream, self.app = self.backend.stream("recorded", shards), self.backend.application("recorded-app")
        self.properties = {**worlds.QUICK, "stream": self.stream, **properties}
        self.file, self.offset, self.seen = world.path("requests.jsonl"), 0, collections.defaultdict(collections.Counter)
        self.proxy = world.spawn("proxy", [sys.executable, PROXY, "--upstream", self.backend.dynamodb_url, "--out", self.file,
                                           "--bodies"], stdin=subprocess.PIPE)

    def worker(self, name, env=None, **properties):
        """Starts one of ours."""
        return self.daemon(name, None, env or {}, properties).start()

    def java(self, name, version):
        """A Java daemon, not started yet."""
        worker = self.daemon(name, java.command(self.world.tools, version), {}, {})
        worker.properties = java.properties(version, worker.properties)
        return worker

    def daemon(self, name, command, env, properties):
        port = worlds.free_port()
        self.proxy.stdin.write(("listen %d %s\n" % (port, name)).encode())
        self.proxy.stdin.flush()
        url = "http://127.0.0.1:%d" % port
        wait_for("the proxy to listen", lambda: worlds._port_open(url), 20)
        return self.world.daemon(self.app, name, command, env, **{**self.properties, "dynamoDBEndpoint": url, **properties})

    def sent(self, *workers):
        """Shapes that these workers sent so far, and how often. Reads of the file only what is new, in whole lines."""
        with open(self.file, "rb") as f:
            f.seek(self.offset)
            text = f.read()
        end = text.rfind(b"\n") + 1
        self.offset += end
        for line in map(json.loads, text[:end].splitlines()):
            self.seen[line["w"]][shapes.shape(line["op"], line["req"])] += 1
        return sum((self.seen[w.name] for w in workers), collections.Counter())

    def read_by(self, *workers, seconds=60):
        """Every record put so far is at a child of one of them."""
        wanted = {"word-%d" % i for i in range(self.stream.count)}
        workers[0].wait_for("every record put so far at a child",
                            lambda: {r[2] for w in workers for r in w.records()} >= wanted, seconds)

    def await_all(self, workers, captures, elsewhere=(), makes=MAKES):
        """Waits while shapes of the captures are missing, for a minute at most; `compare` tells which. The first worker must
        live. Records come in pairs with pauses between, for a checkpoint that has just been written takes the renewal's place."""
        end, looks = time.monotonic() + 60 * self.world.patience, itertools.count()
        while missing(self.sent(*workers), captures, elsewhere, makes) and time.monotonic() < end:
            workers[0].must_live()
            if next(looks) % 16 in (0, 3):
                self.stream.put(24)
            time.sleep(0.3)

    def migration(self, leader, state):
        leader.wait_for("TableMigration3.5 to say %s" % state, lambda: self.app.coordinator_row("TableMigration3.5").get(
            "tm", {}).get("S") == "TABLE_MIGRATION_STATUS_" + state, 80)

    def age_migration(self, hours):
        """Moves the clock of the item back, as if its state had lasted that much longer."""
        self.backend.dynamodb.update_item(
            TableName=self.app.name + "-CoordinatorState", Key={"key": {"S": "TableMigration3.5"}},
            UpdateExpression="ADD mts :back", ExpressionAttributeValues={":back": {"N": str(-hours * 3600 * 1000)}})


def as_java(ours, javas):
    """The shape of Java's that ours has when it asks for no more than Java does, or None."""
    for chosen in itertools.chain.from_iterable(itertools.combinations(ANSWERS, n) for n in range(len(ANSWERS) + 1)):
        text = ours
        for mine, its in chosen:
            text = text.replace(mine, its)
        if text in javas:
            return text
    return None


def matches(shape, patterns):
    return any(re.match(pattern, shape) for pattern in patterns)


def strange(sent, layouts):
    """Of the shapes sent, those that are neither Java's in a capture of these layouts nor among ours alone."""
    javas = of_captures(layouts)
    return sorted(s for s in sent if as_java(s, javas) is None and not matches(s, OURS_ALONE.values()))


def missing(sent, captures, elsewhere=(), makes=MAKES):
    """Of the captures' shapes, those that were not sent, though needed; `elsewhere` are patterns that another test sees to."""
    javas = of_captures(captures, makes)
    came = {as_java(s, javas) for s in sent}
    return sorted(s for s in javas - came if not matches(s, [*NOT_NEEDED.values(), *elsewhere]))


def of_captures(names, makes=MAKES):
    found = [found for (name, make), found in shapes.captured().items() if name in names and make in makes]
    check(found, "no capture is called %s" % " or ".join(names))
    return set().union(*found)


def compare(world, sent, layouts, captures, elsewhere=(), makes=MAKES):
    """Fails with the shapes that are strange or missing; leaves all that were sent in `shapes.txt`."""
    javas = of_captures(layouts)
    with open(world.path("shapes.txt"), "w") as f:
        for s, n in sorted(sent.items()):
            java = as_java(s, javas)
            f.write("%6d %-6s %s\n" % (n, "equal" if java == s else "answer" if java else "alone", s))
    for what, found in (("requests that Java sends in no capture", strange(sent, layouts)),
                        ("requests of the captures that did not come", missing(sent, captures, elsewhere, makes))):
        check(not found, "%s:\n       %s" % (what, "\n       ".join(found)))
