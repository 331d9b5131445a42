"""A mixed fleet on one application: workers of any make, a steady producer, faults, a watch on the table, and the verdict."""
import collections
import json
import os
import re
import signal
import subprocess
import sys
import time

from . import judge, world as worlds
from .fleet_parts import KEYS_PER_SHARD, Producer, Watch, Worker
from .world import Failed, check, wait_for

CHECKER = os.path.join(worlds.COMPAT, "leases", "table_invariants.py")
PROXY = os.path.join(worlds.COMPAT, "leases", "ddb_proxy.py")
#: Children that are in the middle of a batch most of the time, so that a fault or a handoff finds one under way.
SLOW = dict(ANSWER_SLOWLY="0.3")


class Fleet:
    """Use as a context manager: on the way out everybody is stopped, and the laws are checked."""

    def __init__(self, world, shards=4, invariants=(), known=lambda sentence: False, leases_only=False, rounds=-1, **properties):
        """`invariants`: more options of the checker. `known`: says of a broken law whether Java is known to break it.
        `leases_only`: an item of another kind in the lease table breaks a law, for 2.x and 3.0-3.4 die of it.
        `rounds`: how many records of each key are put; -1 is without end."""
        self.world, self.known, self.workers, self.events, self.count = world, known, [], [], collections.Counter()
        self.backend = world.embedded()
        self.stream, self.app = self.backend.stream("fleet", shards), self.backend.application("fleet-app")
        # A slow machine needs a longer failover time too, or workers lose leases by being slow.
        failover = int(4000 * max(1.0, world.patience))
        self.properties = {**worlds.QUICK, "failoverTimeMillis": str(failover), "stream": self.stream,
                           "shutdownGraceMillis": "15000", **properties}
        self.failover = int(self.properties["failoverTimeMillis"] or 10000) / 1000
        self.proxy = world.spawn("proxy", [sys.executable, PROXY, "--upstream", self.backend.dynamodb_url, "--out",
                                           world.path("requests.jsonl"), *(["--bodies"] if world.bodies else [])],
                                 stdin=subprocess.PIPE)
        self.checker = world.spawn("invariants", [
            sys.executable, CHECKER, "--endpoint", self.backend.dynamodb_url, "--app", self.app.name, "--watch", "36000",
            "--interval", "0.5", *invariants])
        self.producer = Producer(self.backend, self.stream, shards * KEYS_PER_SHARD, rounds)
        self.watch = Watch(self.app, leases_only)
        self.promises = []

    def __enter__(self):
        self.began = time.time()
        self.producer.start()
        self.watch.start()
        return self

    def __exit__(self, kind, error, _):
        self.producer.stop() if kind else None
        self.watch.ended.set()
        if kind is None:
            self.finish()

    # ---- what can be done to it

    def note(self, kind, worker, text):
        """An event; its text must be its own, for the waits after it are asked for by it."""
        self.events.append(judge.Event(time.time(), kind, worker, text))
        return text

    def _tell_proxy(self, line):
        self.proxy.stdin.write((line + "\n").encode())
        self.proxy.stdin.flush()

    def make(self, make, env=None, **properties):
        """A worker that is not started yet: make is `ours`, `3.5.1`, `3.1.3` or `2.5.4`."""
        make = self.world.ours if make == "ours" else make
        self.count[make] += 1
        name = "%s-%d" % ("ours" if make == "ours" else "java" + make.replace(".", ""), self.count[make])
        port = worlds.free_port()
        self._tell_proxy("listen %d %s" % (port, name))
        worker = Worker(self, name, make, {**self.properties, "dynamoDBEndpoint": "http://127.0.0.1:%d" % port,
                                           **properties}, env or {})
        wait_for("the proxy to listen", lambda: worlds._port_open(worker.properties["dynamoDBEndpoint"]), 20)
        self.workers.append(worker)
        return worker

    def start(self, make, env=None, **properties):
        worker = self.make(make, env, **properties)
        self.note("start", worker.name, "%s starts" % worker.name)
        return worker.start()

    def start_together(self, *makes, **properties):
        workers = [self.make(m, **properties) for m in makes]
        self.note("start", "", "%s start together" % ", ".join(w.name for w in workers))
        for w in workers:
            w.start()
        return workers

    def stop(self, worker):
        """SIGTERM, awaited. Java without grace is as good as killed (its children hear nothing)."""
        graceful = worker.make == "ours" or int(worker.properties.get("shutdownGraceMillis", "0")) > 0
        text = self.note("stop" if graceful else "crash", worker.name, "SIGTERM of %s" % worker.name)
        code, _ = worker.stop(signal.SIGTERM, 60 * self.world.patience)
        worker.over = True
        check(code == 143, "%s ended with exit code %s after SIGTERM, not 143" % (worker.name, code))
        return text

    def kill(self, worker):
        text = self.note("crash", worker.name, "kill -9 of %s" % worker.name)
        worker.stop(signal.SIGKILL)
        worker.over = True
        return text

    def freeze(self, worker):
        text = self.note("crash", worker.name, "SIGSTOP of %s" % worker.name)
        worker.frozen = True
        worker.send(signal.SIGSTOP)
        return text

    def thaw(self, worker):
        worker.send(signal.SIGCONT)
        worker.frozen = False
        return self.note("back", worker.name, "SIGCONT of %s" % worker.name)

    def cut(self, worker):
        text = self.note("crash", worker.name, "%s cut off from the table" % worker.name)
        self._tell_proxy("cut %s" % worker.name)
        return text

    def mend(self, worker):
        self._tell_proxy("mend %s" % worker.name)
        return self.note("back", worker.name, "%s reaches the table again" % worker.name)

    def split(self, shard):
        text = self.note("reshard", "", "split of %s" % short(shard))
        self.stream.split(shard)
        return text

    def merge(self, one, other):
        text = self.note("reshard", "", "merge of %s and %s" % (short(one), short(other)))
        self.stream.merge(one, other)
        return text

    # ---- what can be awaited

    def must_be_sound(self):
        for worker in self.workers:
            if worker.process is not None and not worker.over and not worker.frozen:
                worker.must_live()
        for thread in (self.producer, self.watch):
            if thread.broken:
                raise Failed("the test's own %s broke: %r" % (type(thread).__name__.lower(), thread.broken))
        check(self.checker.poll() is None, "the checker of the table ended by itself\n" + worlds.tail(self.checker.err))

    def wait_for(self, what, condition, seconds, step=0.1):
        def both():
            self.must_be_sound()
            return condition()
        try:
            return wait_for(what, both, seconds * self.world.patience, step)
        except Failed as e:
            raise Failed("%s; owners: %s; lock: %s" % (e, self.holders(), self.app.lock().get("ownerName"))) from None

    def holders(self):
        """{worker: leases it works on}, finished ones left out."""
        found = collections.defaultdict(list)
        for k, r in self.app.leases().items():
            if r["checkpoint"]["S"] != "SHARD_END":
                owner = (r.get("checkpointOwner") or r.get("leaseOwner") or {"S": None})["S"]
                found[owner].append(short(k))
        return dict(found)

    def delivered(self):
        return {(s, int(r[0])) for w in self.workers for e in w.new_lines() if e["event"] == "processRecords"
                for s, r in ((e["shard"], r) for r in e["records"])}

    def settled(self, seconds=60):
        """Every record put before now is at a child."""
        until = len(self.producer.puts)
        self.wait_for("every record put so far at a child", lambda: not (
            {(p.shard, p.number) for p in self.producer.puts[:until]} - self.delivered()), seconds, step=0.3)

    def flowing(self, seconds=60):
        """The first records of every key are out, and everything put until then is at a child."""
        keys = len(self.producer.next)
        self.wait_for("a first record of each key", lambda: len(self.producer.puts) >= keys, 30)
        self.settled(seconds)

    def shared_by(self, *workers, seconds=90, at_least=1):
        """Each of them works on at_least leases, nobody else on any, and no handoff is under way."""
        wanted = {w.name for w in workers}

        def both():
            held = self.holders()
            pending = any("checkpointOwner" in r for r in self.app.leases().values())
            return not pending and set(held) == wanted and all(len(v) >= at_least for v in held.values())
        self.wait_for("%s to share the leases" % " and ".join(sorted(wanted)), both, seconds)

    def led_by(self, worker, seconds=60):
        self.wait_for("%s to lead" % worker.name,
                      lambda: self.app.lock().get("ownerName", {}).get("S") == worker.name, seconds)

    def leader(self):
        """The living worker that has the lock, or None."""
        name = self.app.lock().get("ownerName", {}).get("S")
        return next((w for w in self.workers if w.name == name and not w.over), None)

    def client_version(self, version, seconds):
        wanted = "CLIENT_VERSION_" + version
        self.wait_for("Migration3.0 to say %s" % wanted,
                      lambda: self.app.coordinator_row("Migration3.0").get("cv", {}).get("S") == wanted, seconds, step=0.5)

    def table_migration(self, status, seconds):
        wanted = "TABLE_MIGRATION_STATUS_" + status
        self.wait_for("TableMigration3.5 to say %s" % wanted,
                      lambda: self.app.coordinator_row("TableMigration3.5").get("tm", {}).get("S") == wanted, seconds, step=0.5)

    def age_table_migration(self, hours):
        """Moves the clock of the item back, as if its state had lasted that much longer."""
        self.app.backend.dynamodb.update_item(
            TableName=self.app.name + "-CoordinatorState", Key={"key": {"S": "TableMigration3.5"}},
            UpdateExpression="ADD mts :back", ExpressionAttributeValues={":back": {"N": str(-hours * 3600 * 1000)}})

    # ---- the verdict

    def promise(self, event, seconds):
        """After that event no record waits longer than this, on any shard."""
        self.promises.append((event, seconds * max(1.0, self.world.patience)))

    def ledger(self):
        deliveries, sessions, stored, begun = [], [], [], {}
        for w in self.workers:
            for e in w.new_lines():
                where = (e["t"], w.name, e["pid"], e["shard"])
                if e["event"] == "initialize":
                    begin = int(e["sequence"]) if e["sequence"].isdigit() else -1
                    begun[w.name, e["pid"]] = begin
                    sessions.append(judge.Session(*where, begin))
                elif e["event"] == "processRecords":
                    for number, _, key, text in e["records"]:
                        deliveries.append(judge.Delivery(*where, int(number), key, int(text.split(":")[1])))
                elif e["event"] == "checkpoint" and not e["error"] and (e["sequence"] or "").isdigit():
                    stored.append(judge.Stored(*where, int(e["sequence"])))
        return judge.Verdict(list(self.producer.puts), deliveries, sessions, stored, self.events)

    def finish(self):
        self.producer.stop()
        self.settled()
        self.must_be_sound()
        self.watch.join()
        self.note("end", "", "the end")
        for w in self.workers:
            if w.process is not None and not w.over and w.make == "ours":
                self.stop(w)
        self.checker.send_signal(signal.SIGTERM)
        self.checker.wait(30)
        for w in self.workers:
            if w.process is not None and not w.over:
                w.stop(signal.SIGKILL, 60)
        verdict = self.ledger()
        with open(self.checker.out) as f:
            table = [line for line in f.read().split("\n") if line and not self.released(line)]
        with open(self.checker.err) as f:
            looked = f.read().strip().split("\n")[-1]
        check(re.match(r"ok|VIOLATIONS", looked), "the checker of the table ended with '%s'" % looked)
        broken = verdict.broken() + ["the table: %s" % v for v in table]
        broken += ["the lease table held an item that is no lease: %s" % k for k in sorted(self.watch.strangers)]
        for event, seconds in self.promises:
            for shard, wait in sorted(verdict.waits_after(event).items()):
                if wait > seconds:
                    broken.append("a record of %s waited %.1f s after the %s, more than %.1f s" % (
                        short(shard), wait, event, seconds))
        javas = [b for b in broken if self.known(b)]
        ours = [b for b in broken if b not in javas]
        self.world.row = self.row(verdict, javas, ours)
        with open(self.world.path("verdict.json"), "w") as f:
            json.dump(self.world.row, f, indent=1)
        check(not ours, "%d laws broken:\n       %s" % (len(ours), "\n       ".join(ours[:12])))

    def released(self, violation):
        """Whether it is about a lock whose owner gave it back: a successor may take it between two looks."""
        found = re.match(r"T6 Leader: \S+ taken from (\S+) by ", violation)
        return bool(found) and any(e.kind == "stop" and e.worker == found.group(1) for e in self.events)

    def row(self, verdict, javas, ours):
        """What the scenario table says of this fleet, up to its end."""
        end = next(i for i, e in enumerate(verdict.events) if e.kind == "end")
        events = verdict.events[:end]
        waits = {short(s): [round(seconds, 1), event] for s, (seconds, event) in sorted(verdict.waits().items())}
        return dict(
            mix=" + ".join("%d %s" % (n, "ours" if m == "ours" else "Java " + m) for m, n in self.count.items()),
            events=[[round(e.t - self.began, 1), e.text] for e in events],
            records_in=len(verdict.puts), records_out=len(verdict.of), duplicates=len(verdict.duplicates()),
            waits=waits, java=javas, broken=ours,
            waits_after={e.text: {short(s): round(w, 1) for s, w in sorted(verdict.waits_after(e.text).items())}
                         for e in events},
            leaders=[[round(t - self.began, 1), name] for t, name in self.watch.leaders],
            requests=self.requests())

    def requests(self):
        """DynamoDB requests a minute of each worker, over its life."""
        by = collections.defaultdict(list)
        with open(self.world.path("requests.jsonl")) as f:
            for line in f:
                r = json.loads(line)
                by[r["w"]].append(r["t0"])
        return {w: round(len(ts) * 60 / max(1.0, max(ts) - min(ts))) for w, ts in sorted(by.items())}


def short(shard):
    """shardId-000000000012 -> 12."""
    return re.sub(r"^shardId-0*(?=\d)", "", shard)
