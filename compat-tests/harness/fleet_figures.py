"""Figures of a fleet with default intervals: seconds without records after the loss of a worker, and requests of an idle one."""
import collections
import json
import time

from .fleet import Fleet, short
from .world import QUICK

#: Nothing that is a default is set.
DEFAULTS = {**{k: None for k in QUICK}, "shutdownGraceMillis": None}
#: Java 3.5.1 needs 100 s and more to its first record, and up to a minute to give a second worker its share.
LONG = 400
#: Seconds after the last record before an idle worker is counted, and for how long it is.
SETTLE, COUNT = 90, 180

WHOM = {"leader": True, "non-leader": False}
HOW = {"kill -9": Fleet.kill, "SIGTERM": Fleet.stop}


def failover(make, how, whom):
    """Two workers, 8 shards; one goes; seconds to the next record of each shard that it served."""
    def measure(world):
        with Fleet(world, shards=8, invariants=("--require-metrics",), known=lambda sentence: True, **DEFAULTS) as f:
            first = f.start(make)
            f.flowing(LONG)
            second = f.start(make)
            f.shared_by(first, second, seconds=LONG)
            f.wait_for("the second to be given records", second.records, LONG)  # named in a handoff is not yet at work
            f.wait_for("one of them to lead", f.leader, LONG)
            f.settled(LONG)
            goes = next(w for w in (first, second) if (f.leader() is w) == WHOM[whom])
            event = HOW[how](f, goes)
            f.settled(LONG)
        resumed = f.ledger().resumed(event, goes.name)
        world.row = dict(f.world.row, figure=max(resumed.values()), shards={short(s): round(t, 1) for s, t in resumed.items()})
    return measure


def requests(make):
    """One worker, 16 shards, one record of each key long ago; its requests a minute, by operation."""
    def measure(world):
        with Fleet(world, shards=16, rounds=1, known=lambda sentence: True, **DEFAULTS) as f:
            worker = f.start(make)
            f.wait_for("the records to be put", lambda: f.producer.rounds == 0, 30)
            f.settled(LONG)
            time.sleep(SETTLE)
            since = time.time()
            time.sleep(COUNT)
            worker.must_live()
            counted = collections.Counter()
            with open(world.path("requests.jsonl")) as lines:
                for line in map(json.loads, lines):
                    counted[line["op"]] += since <= line["t0"] < since + COUNT
        per_minute = {op: n * 60 / COUNT for op, n in counted.items() if n}
        world.row = dict(f.world.row, figure=sum(per_minute.values()), operations=per_minute)
    return measure


def main(run, a):
    """Prints Markdown; returns the exit code."""
    makes = {"multilangd": "ours"}
    if not a.no_java:
        makes["Java 3.5.1"] = "3.5.1"
    tests, cells = [], {}
    for column, make in makes.items():
        for how in HOW:
            for whom in WHOM:
                cells[column, "%s of the %s" % (how, whom)] = add(tests, make, "%s-%s" % (how, whom), failover(make, how, whom))
        cells[column, "idle"] = add(tests, make, "idle", requests(make))
    passed, failed = run.all(tests, waiting=a.jobs)
    figure = lambda column, row: (run.rows.get(cells[column, row]) or {}).get("figure")      # noqa: E731
    lines = ["%s of the %s" % (how, whom) for how in HOW for whom in WHOM]
    print("\n| two workers, 8 shards, defaults | %s |" % " | ".join(makes))
    print("|---|%s" % ("---|" * len(makes)))
    for row in lines:
        values = [figure(c, row) for c in makes]
        print("| %s: longest time to a shard's next record | %s |" % (row, " | ".join("-" if v is None else "%.1f s" % v for v in values)))
    values = [figure(c, "idle") for c in makes]
    print("| DynamoDB requests a minute, one worker, 16 idle leases | %s |" % " | ".join("-" if v is None else "%d" % v for v in values))
    for (column, row), name in cells.items():
        result = run.rows.get(name) or {}
        detail = result.get("shards") or {k: round(v, 1) for k, v in (result.get("operations") or {}).items()}
        print("    %s, %s: %s" % (column, row, detail))
        for sentence in result.get("java", []):
            print("        law broken: %s" % sentence)
    print("\n%d measured, %d not" % (passed, failed))
    return 1 if failed else 0


def add(tests, make, what, function):
    name = "figure-%s-%s" % (make, what.replace(" ", ""))
    tests.append(dict(name=name, function=function, heavy=True, alone=False, waits=True, about=function.__doc__))
    return name
