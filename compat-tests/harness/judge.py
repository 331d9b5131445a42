"""What happened in a fleet, judged: records in and out, repeats, order, waits, who worked on a shard when. No I/O."""
import collections
import re

#: One record at a child. `session` is one child program, which serves one shard from `begin` on.
Delivery = collections.namedtuple("Delivery", "t worker session shard number key n")
Session = collections.namedtuple("Session", "t worker session shard begin")
#: A checkpoint that the daemon said is stored.
Stored = collections.namedtuple("Stored", "t worker session shard number")
#: A record as the producer put it; `t` when the service had taken it.
Put = collections.namedtuple("Put", "t shard number key n")
#: Something done to the fleet. `kind` crash: from now on `worker` may leave work behind that is done again; back: no longer.
Event = collections.namedtuple("Event", "t kind worker text")

#: What a worker is allowed after its lease is another's: the clock readings of two processes, and a line in a pipe.
OVERLAP = 0.25
#: Until a worker that was robbed of a lease notices, in failover times: ours renews after 0.55 of it.
ROBBED = 0.55
#: Seconds until the thief's child begins. Set by what was seen: Java 3.5.1 as 2.x took 7.9 from the robbed one's last record on.
BEGUN = 8.0


class Verdict:
    def __init__(self, puts, deliveries, sessions, stored, events):
        self.puts, self.events = puts, sorted(events)
        self.deliveries, self.sessions, self.stored = sorted(deliveries), sorted(sessions), sorted(stored)
        self.of = collections.defaultdict(list)
        for d in self.deliveries:
            self.of[d.shard, d.number].append(d)

    # ---- figures

    def lost(self):
        return [p for p in self.puts if (p.shard, p.number) not in self.of]

    def duplicates(self):
        """Each repeat with the delivery before it."""
        return [pair for ds in self.of.values() for pair in zip(ds, ds[1:])]

    def waits(self):
        """{shard: (seconds, event)}: the longest that a record waited for its first delivery, and the last event before it came."""
        longest = {}
        for p in self.puts:
            first = self.of.get((p.shard, p.number))
            if first and first[0].t - p.t > longest.get(p.shard, (0,))[0]:
                longest[p.shard] = (first[0].t - p.t, self.last_event(first[0].t))
        return longest

    def waits_after(self, text):
        """{shard: seconds}: the longest wait of a record that came between the event of that text and the next one."""
        index = next(i for i, e in enumerate(self.events) if e.text == text)
        begin = self.events[index].t
        end = self.events[index + 1].t if index + 1 < len(self.events) else float("inf")
        longest = {}
        for p in self.puts:
            first = self.of.get((p.shard, p.number))
            if first and begin <= first[0].t < end:
                longest[p.shard] = max(longest.get(p.shard, 0), first[0].t - p.t)
        return longest

    def resumed(self, text, worker):
        """{shard: seconds} from that event to the first record at another worker, of the shards that `worker` served then."""
        at = next(e.t for e in self.events if e.text == text)
        serving = {}
        for d in self.deliveries:
            if d.t <= at:
                serving[d.shard] = d.worker
        found = {}
        for d in self.deliveries:
            if d.t > at and d.worker != worker and serving.get(d.shard) == worker:
                found.setdefault(d.shard, d.t - at)
        return found

    def last_event(self, t):
        before = [e.text for e in self.events if e.t <= t]
        return before[-1] if before else ""

    # ---- laws: each returns sentences, none if the law was kept

    def nothing_lost(self):
        return ["lost: %s:%d, number %d of %s, put at %.1f" % (p.key, p.n, p.number, p.shard, p.t) for p in self.lost()]

    def nothing_invented(self):
        known = {(p.shard, p.number) for p in self.puts}
        return ["never put: number %d of %s at %s" % (d.number, d.shard, d.worker)
                for d in self.deliveries if (d.shard, d.number) not in known]

    def no_idle_repeats(self):
        """A record comes again only after the worker that had it was killed, frozen or cut off."""
        wrong = []
        for first, again in self.duplicates():
            if not self.excused(first, again):
                wrong.append("twice: %s:%d of %s, first at %s, %.1f s later at %s (%s), though nothing happened to %s" % (
                    first.key, first.n, first.shard, first.worker, again.t - first.t, again.worker,
                    self.last_event(again.t), first.worker))
        return wrong

    def excused(self, first, again):
        """Whether the worker of the first delivery was lost between the two, or before the first and had not come back."""
        for i, e in enumerate(self.events):
            if e.kind == "crash" and e.worker == first.worker and e.t <= again.t:
                back = next((b.t for b in self.events[i:] if b.kind == "back" and b.worker == e.worker), float("inf"))
                if first.t <= back + OVERLAP:
                    return True
        return False

    def order_in_a_session(self):
        wrong, at = [], {(s.worker, s.session): s.begin for s in self.sessions}
        for d in self.deliveries:
            where = (d.worker, d.session)
            if d.number <= at.get(where, -1):
                wrong.append("order: %s was given number %d of %s after %d" % (d.worker, d.number, d.shard, at[where]))
            at[where] = d.number
        return wrong

    def order_of_a_key(self):
        """First deliveries of one partition key come in the order of the puts, over splits, merges and workers."""
        wrong, last = [], {}
        for d in sorted(ds[0] for ds in self.of.values()):
            if d.n < last.get(d.key, -1):
                wrong.append("order: %s:%d came first to %s, %s, when %s:%d had come" % (
                    d.key, d.n, d.worker, d.shard, d.key, last[d.key]))
            last[d.key] = max(d.n, last.get(d.key, -1))
        return wrong

    def no_rewind(self):
        """No child that is given records begins before a checkpoint that was stored before it began.

        One that begins and only hears that its lease is lost does no harm: its worker was frozen in between.
        """
        wrong, newest, i = [], {}, 0
        given = {(d.worker, d.session) for d in self.deliveries}
        for s in self.sessions:
            if (s.worker, s.session) not in given:
                continue
            while i < len(self.stored) and self.stored[i].t < s.t:
                c = self.stored[i]
                newest[c.shard] = max(newest.get(c.shard, (-1, "")), (c.number, c.worker))
                i += 1
            number, worker = newest.get(s.shard, (-1, ""))
            if s.begin < number:
                wrong.append("rewind: %s began %s at %d, after %s had stored %d" % (s.worker, s.shard, s.begin, worker, number))
        return wrong

    def one_at_a_time(self):
        """After a child was given records of a shard, no older child of another worker is given any."""
        wrong, newest = [], {}
        for s in self.sessions:
            newest.setdefault(s.shard, []).append(s)
        first = {}
        for d in self.deliveries:
            first.setdefault((d.worker, d.session), d.t)
        for d in self.deliveries:
            for s in newest.get(d.shard, []):
                began = first.get((s.worker, s.session))
                if began and s.worker != d.worker and first[d.worker, d.session] < began < d.t - OVERLAP:
                    wrong.append("two at once: %s gave number %d of %s to its child %.1f s after %s had begun" % (
                        d.worker, d.number, d.shard, d.t - began, s.worker))
                    break
        return wrong

    def broken(self):
        laws = (self.nothing_lost, self.nothing_invented, self.no_idle_repeats, self.order_in_a_session,
                self.order_of_a_key, self.no_rewind, self.one_at_a_time)
        return [sentence for law in laws for sentence in law()]


def stolen(failover, thief=""):
    """Says whether a sentence is about what the takers of 2.x do to records: they ask nobody, so what the robbed one gave out since
    its last checkpoint comes again, and until that one notices both work. Excused are only pairs of workers one of whose names
    begins with `thief`, and only as long as that takes."""
    said = re.compile(r"(?:twice: \S+ of \S+, first at (\S+), (\S+) s later at (\S+) "
                      r"|two at once: (\S+) gave .* to its child (\S+) s after (\S+) had begun)")

    def excuses(sentence):
        found = said.match(sentence)
        if not found:
            return False
        one, seconds, other = (a or b for a, b in zip(found.groups()[:3], found.groups()[3:]))
        limit = failover * ROBBED + (BEGUN if sentence.startswith("twice") else 1)
        return (one.startswith(thief) or other.startswith(thief)) and float(seconds) <= limit
    return excuses
