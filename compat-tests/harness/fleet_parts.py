"""What a fleet is made of: the producer, the look at who leads, and a worker of any make."""
import collections
import json
import threading
import time

from . import java, judge, world as worlds

RING = 1 << 128
#: A put a key each PACE seconds. Some keys in each shard, so that two are left in the child of a child.
PACE, KEYS_PER_SHARD = 0.25, 3
#: Seconds between two looks of ours at the table.
LOOK = 0.5


class Producer(threading.Thread):
    """Numbers the records of each key 0, 1, 2, ... and writes down where the service put each of them."""

    def __init__(self, backend, stream, keys, rounds):
        super().__init__(daemon=True)
        self.rounds = rounds
        self.backend, self.stream, self.puts, self.ended, self.broken = backend, stream, [], threading.Event(), None
        self.next = collections.OrderedDict(("k%02d" % i, 0) for i in range(keys))
        self.place = {k: str(i * RING // keys) for i, k in enumerate(self.next)}

    def run(self):
        try:
            while self.rounds != 0 and not self.ended.wait(PACE):
                self.round(list(self.next))
                self.rounds -= 1
        except Exception as e:                  # said by the fleet when it looks
            self.broken = e

    def round(self, keys):
        while keys:
            answer = self.backend.kinesis.put_records(StreamName=self.stream.name, Records=[
                dict(Data=("%s:%d" % (k, self.next[k])).encode(), PartitionKey=k, ExplicitHashKey=self.place[k]) for k in keys])
            now, refused = time.time(), []
            for k, r in zip(keys, answer["Records"]):
                if "SequenceNumber" in r:
                    self.puts.append(judge.Put(now, r["ShardId"], int(r["SequenceNumber"]), k, self.next[k]))
                    self.next[k] += 1
                else:
                    refused.append(k)
            keys = refused

    def stop(self):
        self.ended.set()
        self.join()


class Watch(threading.Thread):
    """Looks at the table each half second: who leads, who holds what."""

    def __init__(self, app, leases_only):
        super().__init__(daemon=True)
        self.app, self.leaders, self.ended, self.broken = app, [], threading.Event(), None
        self.leases_only, self.strangers = leases_only, set()

    def run(self):
        while not self.ended.wait(LOOK):
            try:
                self.look()
            except Exception as e:
                self.broken = e

    def look(self):
        leader = self.app.lock().get("ownerName", {}).get("S")
        if not self.leaders or self.leaders[-1][1] != leader:
            self.leaders.append((time.time(), leader))
        if self.leases_only:
            self.strangers |= {k for k, r in self.app.rows().items() if "leaseCounter" not in r}


class Worker(worlds.Daemon):
    """One daemon of the fleet, ours or Java's, behind a proxy port of its own."""

    def __init__(self, fleet, name, make, properties, env):
        self.make, self.offset, self.seen = make, 0, []
        command = None if make == "ours" else java.command(fleet.world.tools, make)
        super().__init__(fleet.world, fleet.app, name, command or [fleet.world.binary, "--properties-file", "{properties}"],
                         env, properties)
        if make != "ours":
            self.properties = java.properties(make, self.properties)
        self.over = self.frozen = False

    def new_lines(self):
        """Every whole line of the ledger so far; reads only what is new."""
        try:
            with open(self.ledger, "rb") as f:
                f.seek(self.offset)
                text = f.read()
        except FileNotFoundError:
            return self.seen
        end = text.rfind(b"\n") + 1
        self.offset += end
        self.seen += [json.loads(line) for line in text[:end].splitlines()]
        return self.seen
