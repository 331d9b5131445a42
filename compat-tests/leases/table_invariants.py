#!/usr/bin/env python3
"""Checks the DynamoDB state of one KCL application (standard library only).

    table_invariants.py --endpoint http://localhost:8000 --app myapp            # one look
    table_invariants.py --endpoint ... --app myapp --watch 120 --interval 1     # 120 s, with history
    table_invariants.py --endpoint ... --app myapp --dump                       # items as JSON
    table_invariants.py --endpoint ... --selftest                               # the checker checks itself

Exit status: 0 no violation, 1 violations (one per line on stdout), 2 usage or connection.

What is looked at: the lease table (name = application name, or --table) and,
where they exist, <app>-CoordinatorState and <app>-WorkerMetricStats.
Rules have short codes; --ignore CODE[,CODE] silences some.

  A1 unknown attribute on an item            A2 wrong DynamoDB type
  A3 required attribute missing              A4 malformed value
  A5 entity Java cannot place (3.5 logs a failed lease each round; every full scan by 2.x and 3.0-3.4 dies on it)
  K1 hash range malformed / only half there  K2 hole in the ring of unfinished leases
  L1 SHARD_END without childShardIds         L2 SHARD_END but a child lease is missing
  L3 child progressed although a parent lease is unfinished
  L4 checkpointOwner without leaseOwner, or equal to it
  M1 metric row invalid in Java's eyes       M2 owner of a live lease without live metric row (--require-metrics)
  C1 coordinator item malformed              C2 single-table items next to legacy tables without a migration item
  G1 index missing or of another shape (--require-index)
  with --watch:
  T1 leaseCounter went back                  T2 owner changed without counter change (other than a handoff)
  T3 checkpoint went back / left SHARD_END   T4 lease removed before its end, or before its children began
  T5 handoff pending longer than --handoff-limit
  T6 two leader locks alive (legacy and lease table at once), or lock taken while it was alive
  T7 lease not renewed for longer than --stall-limit although workers live
  T8 hash range or parents of an existing lease changed
  T9 ownerSwitchesSinceCheckpoint went back without a checkpoint
"""
import argparse
import collections
import datetime
import hashlib
import hmac
import json
import os
import re
import signal
import sys
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

MAXH = (1 << 128) - 1
INDEX = "LeaseOwnerToLeaseKeyIndex"
SENTINELS = {"TRIM_HORIZON", "LATEST", "AT_TIMESTAMP", "SHARD_END"}
LEASE_ATTRS = {  # name: (type, required)
    "leaseKey": ("S", True), "leaseCounter": ("N", True), "checkpoint": ("S", True),
    "checkpointSubSequenceNumber": ("N", True), "ownerSwitchesSinceCheckpoint": ("N", True),
    "leaseOwner": ("S", False), "parentShardId": ("SS", False), "childShardIds": ("SS", False),
    "startingHashKey": ("S", False), "endingHashKey": ("S", False), "throughputKBps": ("N", False),
    "checkpointOwner": ("S", False), "pendingCheckpoint": ("S", False),
    "pendingCheckpointSubSequenceNumber": ("N", False), "pendingCheckpointState": ("B", False),
    "entityType": ("S", False), "streamName": ("S", False), "shardId": ("S", False),
}
LOCK_ATTRS = {"ownerName": ("S", True), "leaseDuration": ("S", True), "recordVersionNumber": ("S", True),
              "isReleased": ("S", False), "data": ("B", False), "entityType": ("S", False)}
MIG_ATTRS = {"cv": ("S", True), "mb": ("S", True), "mts": ("N", True), "h": ("L", False), "entityType": ("S", False)}
TMIG_ATTRS = {"tm": ("S", True), "mb": ("S", True), "mts": ("N", True), "h": ("L", False), "entityType": ("S", False)}
STREAM_ATTRS = {"streamId": ("S", True), "entityType": ("S", False)}
METRIC_ATTRS = {"lut": ("N", True), "sts": ("M", True), "opr": ("M", True), "properties": ("M", False),
                "sup": ("N", False), "slu": ("N", False), "entityType": ("S", False)}
CV = {"CLIENT_VERSION_INIT", "CLIENT_VERSION_UPGRADE_FROM_2X", "CLIENT_VERSION_2X",
      "CLIENT_VERSION_3X_WITH_ROLLBACK", "CLIENT_VERSION_3X"}
TM = {"TABLE_MIGRATION_STATUS_" + x for x in ("INIT", "DEPLOYED", "PENDING", "COMPLETE")}
ENTITIES = {"LEASE", "STREAM", "LEADER", "CLIENT_VERSION_MIGRATION", "TABLE_MIGRATION", "WORKER_METRIC_STATS"}


class Dynamo:
    def __init__(self, endpoint, region):
        self.u = urlsplit(endpoint)
        self.endpoint, self.region = endpoint, region
        self.ak = os.environ.get("AWS_ACCESS_KEY_ID", "x")
        self.sk = os.environ.get("AWS_SECRET_ACCESS_KEY", "y")
        self.tok = os.environ.get("AWS_SESSION_TOKEN")

    def call(self, op, body):
        data = json.dumps(body).encode()
        now = datetime.datetime.now(datetime.timezone.utc)
        amz, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        h = {"content-type": "application/x-amz-json-1.0", "host": self.u.netloc,
             "x-amz-date": amz, "x-amz-target": "DynamoDB_20120810." + op}
        if self.tok:
            h["x-amz-security-token"] = self.tok
        names = ";".join(sorted(h))
        canon = "\n".join(["POST", self.u.path or "/", "", *(f"{k}:{h[k]}" for k in sorted(h)), "", names,
                           hashlib.sha256(data).hexdigest()])
        scope = f"{day}/{self.region}/dynamodb/aws4_request"
        sts = "\n".join(["AWS4-HMAC-SHA256", amz, scope, hashlib.sha256(canon.encode()).hexdigest()])
        k = ("AWS4" + self.sk).encode()
        for part in (day, self.region, "dynamodb", "aws4_request"):
            k = hmac.new(k, part.encode(), hashlib.sha256).digest()
        sig = hmac.new(k, sts.encode(), hashlib.sha256).hexdigest()
        h["authorization"] = f"AWS4-HMAC-SHA256 Credential={self.ak}/{scope}, SignedHeaders={names}, Signature={sig}"
        del h["host"]
        for attempt in range(4):
            try:
                with urllib.request.urlopen(urllib.request.Request(self.endpoint, data, h), timeout=30) as r:
                    return json.load(r)
            except urllib.error.HTTPError as e:
                txt = e.read().decode("utf-8", "replace")
                if "ResourceNotFoundException" in txt:
                    return None
                if e.code >= 500 and attempt < 3:
                    time.sleep(0.3 * (attempt + 1))
                    continue
                raise RuntimeError(f"{op}: {e.code} {txt[:300]}")

    def scan(self, table, consistent=True):
        out, start = [], None
        while True:
            req = {"TableName": table, "ConsistentRead": consistent}
            if start:
                req["ExclusiveStartKey"] = start
            r = self.call("Scan", req)
            if r is None:
                return None
            out += r.get("Items", [])
            start = r.get("LastEvaluatedKey")
            if not start:
                return out


def val(av):
    return None if av is None else next(iter(av.values()))


def typ(av):
    return next(iter(av))


def number(av, default=0.0):
    try:
        return float(val(av))
    except (TypeError, ValueError):
        return default


def strs(it, name):
    """The members of a string set; nothing when the attribute is absent or of another type."""
    av = it.get(name)
    return list(val(av)) if av is not None and typ(av) == "SS" else []


class Checker:
    def __init__(self, a):
        self.a = a
        self.found = collections.OrderedDict()
        self.prev = None
        self.holes_since = None
        self.index_missing_since = None
        self.pending = {}
        self.seen_counter = {}
        self.lock = {}
        self.metric_missing = {}

    def bad(self, code, what, msg):
        if code in self.a.ignore:
            return
        self.found.setdefault(f"{code} {what}: {msg}", time.time())

    # -- one item -----------------------------------------------------------
    def attrs(self, code_item, key, item, spec, keyname):
        for n, av in item.items():
            if n == keyname:
                continue
            if n not in spec:
                self.bad("A1", key, f"attribute {n!r} is unknown to the Java library")
            elif typ(av) != spec[n][0]:
                self.bad("A2", key, f"{n} is {typ(av)}, Java writes {spec[n][0]}")
            elif typ(av) in ("S", "SS") and (not val(av) or "" in list(val(av) if typ(av) == "SS" else [val(av)])):
                self.bad("A4", key, f"{n} is empty")
        for n, (_, req) in spec.items():
            if req and n not in item and n != keyname:
                self.bad("A3" if code_item == "lease" else "C1", key, f"{n} is missing")

    def integer(self, key, item, *names):
        for n in names:
            if n in item and typ(item[n]) == "N" and not re.fullmatch(r"-?\d+", val(item[n])):
                self.bad("A4", key, f"{n} = {val(item[n])} is not an integer (Java parses a Long)")

    def lease(self, it):
        k = val(it["leaseKey"])
        self.attrs("lease", k, it, LEASE_ATTRS, "leaseKey")
        self.integer(k, it, "leaseCounter", "checkpointSubSequenceNumber", "ownerSwitchesSinceCheckpoint",
                     "pendingCheckpointSubSequenceNumber")
        if "leaseCounter" in it and typ(it["leaseCounter"]) == "N" and number(it["leaseCounter"]) < 0:
            self.bad("A4", k, "leaseCounter is negative")
        for n in ("checkpoint", "pendingCheckpoint"):
            if n in it and typ(it[n]) == "S":
                c = val(it[n])
                if c not in SENTINELS and not re.fullmatch(r"\d+", c):
                    self.bad("A4", k, f"{n} {c!r} is neither a sentinel nor a sequence number")
        if ("pendingCheckpoint" in it) != ("pendingCheckpointSubSequenceNumber" in it):
            self.bad("A3", k, "pendingCheckpoint and its sub-sequence number belong together")
        if ("streamName" in it) != ("shardId" in it):
            self.bad("A3", k, "streamName and shardId belong together")
        lo, hi = val(it.get("startingHashKey")), val(it.get("endingHashKey"))
        if (lo is None) != (hi is None):
            self.bad("K1", k, "only one end of the hash range is there")
        elif lo is not None and not (re.fullmatch(r"\d+", str(lo)) and re.fullmatch(r"\d+", str(hi))
                                     and 0 <= int(lo) <= int(hi) <= MAXH):
            self.bad("K1", k, f"hash range {lo}..{hi} is malformed")
        if "throughputKBps" in it and typ(it["throughputKBps"]) == "N" and number(it["throughputKBps"]) < 0:
            self.bad("A4", k, "throughputKBps is negative")
        co, lw = val(it.get("checkpointOwner")), val(it.get("leaseOwner"))
        if co is not None and (lw is None or lw == co):
            self.bad("L4", k, f"checkpointOwner={co} with leaseOwner={lw}")

    def history(self, key, it, field, allowed):
        h = val(it.get("h"))
        if h is None:
            return
        if len(h) > 10:
            self.bad("C1", key, "more than 10 history entries")
        for e in h:
            m = val(e) if typ(e) == "M" else {}
            if set(m) != {field, "mb", "mts"} or val(m.get(field)) not in allowed or typ(m["mts"]) != "N":
                self.bad("C1", key, f"history entry malformed: {json.dumps(e)[:120]}")

    def coordinator(self, it, keyname, where):
        k = val(it[keyname])
        name = f"{where}:{k}"
        et = val(it.get("entityType"))
        if k == "Leader" or et == "LEADER":
            self.attrs("coord", name, it, LOCK_ATTRS, keyname)
            if k != "Leader":
                self.bad("C1", name, "the lock lives under the key 'Leader'")
            if keyname == "leaseKey" and et != "LEADER":
                self.bad("A5", name, "lock in the lease table needs entityType=LEADER")
            if not re.fullmatch(r"\d+", val(it.get("leaseDuration", {"S": "?"}))):
                self.bad("C1", name, "leaseDuration is a decimal string of milliseconds")
            if "isReleased" in it and val(it["isReleased"]) != "1":
                self.bad("C1", name, "isReleased is '1' or absent")
        elif k == "Migration3.0" or et == "CLIENT_VERSION_MIGRATION":
            self.attrs("coord", name, it, MIG_ATTRS, keyname)
            if val(it.get("cv")) not in CV:
                self.bad("C1", name, f"cv={val(it.get('cv'))} is no client version")
            self.integer(name, it, "mts")
            self.history(name, it, "cv", CV)
            if keyname == "leaseKey" and et != "CLIENT_VERSION_MIGRATION":
                self.bad("A5", name, "entityType=CLIENT_VERSION_MIGRATION expected in the lease table")
        elif k == "TableMigration3.5" or et == "TABLE_MIGRATION":
            self.attrs("coord", name, it, TMIG_ATTRS, keyname)
            if val(it.get("tm")) not in TM:
                self.bad("C1", name, f"tm={val(it.get('tm'))} is no table migration status")
            self.integer(name, it, "mts")
            self.history(name, it, "tm", TM)
        elif et == "STREAM":
            self.attrs("coord", name, it, STREAM_ATTRS, keyname)
        else:
            self.bad("C1", name, "unknown coordinator item")

    def metric(self, it, keyname, where):
        k = f"{where}:{val(it[keyname])}"
        self.attrs("metric", k, it, METRIC_ATTRS, keyname)
        self.integer(k, it, "lut", "slu", "sup")
        sts, opr = val(it.get("sts")) or {}, val(it.get("opr")) or {}
        if not isinstance(sts, dict) or not isinstance(opr, dict):
            return
        for n, l in sts.items():
            if typ(l) != "L" or not val(l) or any(typ(x) != "N" for x in val(l)):
                self.bad("M1", k, f"sts.{n} must be a non-empty list of numbers")
            elif n not in opr:
                self.bad("M1", k, f"sts.{n} has no operating range: the row is ignored and its leases drift away")
            else:
                if len(val(l)) > 10:
                    self.bad("M1", k, f"sts.{n} holds {len(val(l))} values, Java keeps 10")
                for x in val(l):
                    if not (number(x, 999) == -1 or 0 <= number(x, 999) <= 100):
                        self.bad("M1", k, f"sts.{n} value {val(x)} outside 0..100 (and not -1)")
        for n, l in opr.items():
            if typ(l) != "L" or not val(l) or typ(val(l)[0]) != "N" or number(val(l)[0]) <= 0:
                self.bad("M1", k, f"opr.{n} must begin with a maximum > 0")
        if keyname == "leaseKey" and ("sup" in it) != ("slu" in it):
            self.bad("M1", k, "sup and slu belong together")

    # -- the whole ----------------------------------------------------------
    def look(self, lease_items, coord_items, metric_items, desc, now):
        leases, metrics, coords = {}, {}, []
        for it in lease_items:
            et = val(it.get("entityType"))
            if "entityType" in it and typ(it["entityType"]) != "S":
                self.bad("A2", val(it["leaseKey"]), "entityType must be S")
            if et is not None and et not in ENTITIES:
                self.bad("A5", val(it["leaseKey"]), f"entityType {et!r} is unknown: 3.5 counts it as a lease that cannot be read, older scans die on it")
            elif et is None and ("leaseCounter" not in it):
                self.bad("A5", val(it["leaseKey"]), "no entityType and no leaseCounter: scans by 2.x and 3.0-3.4 die on it, 3.5 logs an error each round")
            elif et in (None, "LEASE"):
                leases[val(it["leaseKey"])] = it
                self.lease(it)
            elif et == "WORKER_METRIC_STATS":
                self.metric(it, "leaseKey", "lease-table")
                metrics[val(it["leaseKey"])] = it
            else:
                self.coordinator(it, "leaseKey", "lease-table")
                coords.append(("lease", it))
        for it in coord_items or []:
            self.coordinator(it, "key", "CoordinatorState")
            coords.append(("legacy", it))
        for it in metric_items or []:
            self.metric(it, "wid", "WorkerMetricStats")
            o = metrics.get(val(it["wid"]))
            if o is None or number(o.get("lut")) < number(it.get("lut")):
                metrics[val(it["wid"])] = it

        single = any(val(i.get("entityType")) not in (None, "LEASE") for i in lease_items)
        tm = [val(i.get("tm")) for w, i in coords if "tm" in i]
        if single and (coord_items is not None or metric_items is not None) and not tm:
            self.bad("C2", self.a.app, "lease table holds non-lease items while a legacy table exists and no "
                                       "TableMigration3.5 item does: workers disagree where the lock is")
        if self.a.require_index:
            gsi = {g["IndexName"]: g for g in desc.get("GlobalSecondaryIndexes", [])}
            g = gsi.get(INDEX)
            ks = [(x["AttributeName"], x["KeyType"]) for x in (g or {}).get("KeySchema", [])]
            if not g or sorted(ks) != [("leaseKey", "RANGE"), ("leaseOwner", "HASH")]:
                # The table is there before its index is.
                self.index_missing_since = self.index_missing_since or now
                if g or now - self.index_missing_since >= self.a.hole_grace:
                    self.bad("G1", INDEX, f"missing or wrong key schema {ks}")
            elif g["Projection"]["ProjectionType"] not in ("KEYS_ONLY", "ALL"):
                self.bad("G1", INDEX, "projection")

        self.tree(leases)
        self.ring(leases, now)
        if self.a.require_metrics:
            self.reporters(leases, metrics, now)
        if self.prev is not None:
            self.over_time(leases, now)
        self.handoffs(leases, now)
        self.locks(coords, now)
        self.stalls(leases, now)
        self.prev = leases

    def tree(self, leases):
        for k, it in leases.items():
            multi = k.rsplit(":", 1)[0] + ":" if "streamName" in it else ""
            cp = val(it.get("checkpoint"))
            if cp == "SHARD_END":
                kids = strs(it, "childShardIds")
                if not kids and not self.a.allow_childless:
                    self.bad("L1", k, "finished, yet childShardIds is not recorded")
                for c in kids:
                    if multi + c not in leases:
                        self.bad("L2", k, f"finished, but there is no lease for its child {c}")
            for p in strs(it, "parentShardId"):
                par = leases.get(multi + p)
                if par is not None and val(par.get("checkpoint")) != "SHARD_END" and cp not in SENTINELS - {"SHARD_END"}:
                    self.bad("L3", k, f"progressed to {cp} while parent {p} is at {val(par.get('checkpoint'))}")

    def ring(self, leases, now):
        groups = collections.defaultdict(list)
        for k, it in leases.items():
            if val(it.get("checkpoint")) != "SHARD_END" and "startingHashKey" in it and "endingHashKey" in it:
                try:
                    groups[val(it.get("streamName")) or ""].append(
                        (int(val(it["startingHashKey"])), int(val(it["endingHashKey"])), k))
                except ValueError:
                    pass
        holes = []
        for g, rs in groups.items():
            rs.sort()
            at, last = 0, "start"
            for lo, hi, k in rs:
                if lo > at:
                    holes.append(f"{g or 'stream'}: {at}..{lo - 1} between {last} and {k}")
                if hi + 1 > at:
                    at, last = hi + 1, k
            if at <= MAXH:
                holes.append(f"{g or 'stream'}: {at}..{MAXH} after {last}")
        if not holes:
            self.holes_since = None
            return
        self.holes_since = self.holes_since or now
        if now - self.holes_since >= self.a.hole_grace:
            for h in holes:
                self.bad("K2", "ring", f"no unfinished lease covers {h}")

    def reporters(self, leases, metrics, now):
        owners = {val(i.get("checkpointOwner")) or val(i.get("leaseOwner")) for i in leases.values()} - {None}
        for o in owners:
            m = metrics.get(o)
            alive = m is not None and now - number(m.get("lut")) <= self.a.metric_age
            if alive:
                self.metric_missing.pop(o, None)
                continue
            t = self.metric_missing.setdefault(o, now)
            moved = any(now - self.seen_counter.get(k, (0, 0))[1] < 15 for k, i in leases.items()
                        if val(i.get("leaseOwner")) == o)
            if moved and now - t > self.a.metric_grace:
                self.bad("M2", o, "owns renewed leases but reports no metric row: a 3.x leader gives it nothing and "
                                  "both migrations stall")

    def over_time(self, leases, now):
        for k, old in self.prev.items():
            new = leases.get(k)
            if new is None:
                if val(old.get("checkpoint")) != "SHARD_END" and not self.a.allow_delete:
                    self.bad("T4", k, f"removed at checkpoint {val(old.get('checkpoint'))}")
                elif not self.a.allow_delete:
                    multi = k.rsplit(":", 1)[0] + ":" if "streamName" in old else ""
                    for c in strs(old, "childShardIds"):
                        ch = leases.get(multi + c) or self.prev.get(multi + c)
                        if ch is None:
                            self.bad("T4", k, f"removed although child {c} has no lease")
                        elif val(ch.get("checkpoint")) in ("TRIM_HORIZON", "AT_TIMESTAMP"):
                            self.bad("T4", k, f"removed although child {c} has not begun")
                continue
            try:
                co, cn = int(val(old["leaseCounter"])), int(val(new["leaseCounter"]))
            except (KeyError, ValueError, TypeError):
                continue
            if cn < co:
                self.bad("T1", k, f"leaseCounter {co} -> {cn}")
            oo, on = val(old.get("leaseOwner")), val(new.get("leaseOwner"))
            po, pn = val(old.get("checkpointOwner")), val(new.get("checkpointOwner"))
            if oo != on and cn == co and not (po is None and pn == oo and oo is not None):
                self.bad("T2", k, f"owner {oo} -> {on} with the counter left at {cn} and checkpointOwner {po} -> {pn}")
            if val(old.get("checkpoint")) == "SHARD_END" and val(new.get("checkpoint")) != "SHARD_END":
                self.bad("T3", k, f"left SHARD_END for {val(new.get('checkpoint'))}")
            a, b = pos(old), pos(new)
            if a is not None and b is not None and b < a:
                self.bad("T3", k, f"checkpoint went back from {a} to {b}")
            for n in ("startingHashKey", "endingHashKey"):
                if n in old and val(old[n]) != val(new.get(n)):
                    self.bad("T8", k, f"{n} changed")
            if "parentShardId" in old and sorted(strs(old, "parentShardId")) != sorted(strs(new, "parentShardId")):
                self.bad("T8", k, "parentShardId changed")
            so, sn = val(old.get("ownerSwitchesSinceCheckpoint")), val(new.get("ownerSwitchesSinceCheckpoint"))
            try:
                if int(sn) < int(so) and int(sn) != 0:
                    self.bad("T9", k, f"{so} -> {sn}")
            except (TypeError, ValueError):
                pass

    def handoffs(self, leases, now):
        for k, it in leases.items():
            c = val(it.get("checkpointOwner"))
            if c is None:
                self.pending.pop(k, None)
            else:
                key = (c, val(it.get("leaseOwner")))
                t, who = self.pending.get(k, (now, key))
                if who != key:
                    t = now
                self.pending[k] = (t, key)
                if now - t > self.a.handoff_limit:
                    self.bad("T5", k, f"handoff {key[0]} -> {key[1]} pending for {now - t:.0f} s")

    def locks(self, coords, now):
        live = {}
        # A lock that is absent in a look was released: whoever takes it next takes nothing from anybody.
        present = {where for where, it in coords if "recordVersionNumber" in it}
        for where in [w for w in self.lock if w not in present]:
            del self.lock[where]
        for where, it in coords:
            if "recordVersionNumber" not in it:
                continue
            v, owner = val(it["recordVersionNumber"]), val(it.get("ownerName"))
            rel = "isReleased" in it
            old = self.lock.get(where)
            if old is None or old[0] != v:
                changed = None if old is None else now
                if old and old[1] != owner and not old[3] and not rel:
                    quiet = now - (old[2] or 0)
                    if old[2] and quiet < old[4] / 1000.0 * 0.5:
                        self.bad("T6", "Leader", f"{where}: taken from {old[1]} by {owner} only {quiet:.0f} s after its heartbeat")
                self.lock[where] = (v, owner, changed, rel, number(it.get("leaseDuration")))
            else:
                self.lock[where] = (v, owner, old[2], rel, old[4])
            st = self.lock[where]
            if st[2] and not st[3] and now - st[2] < 45:
                live[where] = owner
        if len(live) > 1:
            self.bad("T6", "Leader", f"two locks are being renewed: {live}")

    def stalls(self, leases, now):
        alive = False
        for k, it in leases.items():
            c = val(it.get("leaseCounter"))
            old = self.seen_counter.get(k)
            if old is None:
                self.seen_counter[k] = (c, now)
            elif old[0] != c:
                self.seen_counter[k] = (c, now)
                alive = True
        if self.a.stall_limit and (alive or any(now - t < 30 for _, t in self.seen_counter.values())):
            for k in leases:
                if now - self.seen_counter[k][1] > self.a.stall_limit:
                    self.bad("T7", k, f"not renewed for {now - self.seen_counter[k][1]:.0f} s (owner "
                                      f"{val(leases[k].get('leaseOwner'))})")


def pos(it):
    c = val(it.get("checkpoint"))
    if c is None or not re.fullmatch(r"\d+", str(c)):
        return None
    try:
        return (int(c), int(val(it.get("checkpointSubSequenceNumber")) or 0))
    except (ValueError, TypeError):
        return None


def run(a, db):
    ck = Checker(a)
    table = a.table or a.app
    end = time.time() + a.watch
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))   # ends a watch with its verdict
    n = 0
    while True:
        now = time.time()
        d = db.call("DescribeTable", {"TableName": table})
        if d is None:
            if a.watch and now < end and not stopped:
                time.sleep(a.interval)
                continue
            print(f"no table {table}")
            return 2
        ls = db.scan(table)
        cs = db.scan((a.coordinator_table or a.app + "-CoordinatorState"))
        ms = db.scan((a.metrics_table or a.app + "-WorkerMetricStats"))
        if a.dump:
            print(json.dumps({"lease": ls, "coordinator": cs, "metrics": ms}, indent=1, sort_keys=True))
            return 0
        if not a.watch:
            a.hole_grace = 0
        ck.look(ls, cs, ms, d["Table"], now)
        n += 1
        if not a.watch or now >= end or stopped:
            break
        time.sleep(a.interval)
    for v in ck.found:
        print(v)
    print(f"{'VIOLATIONS: %d' % len(ck.found) if ck.found else 'ok'} ({n} looks, {len(ck.prev or {})} leases)",
          file=sys.stderr)
    return 1 if ck.found else 0


def selftest(a, db):
    """Builds a sound table, which must pass, then spoils it in many ways, each of which must be noticed."""
    import copy
    half = MAXH // 2

    def L(k, lo, hi, **kw):
        it = {"leaseKey": {"S": k}, "leaseCounter": {"N": "5"}, "checkpoint": {"S": "TRIM_HORIZON"},
              "checkpointSubSequenceNumber": {"N": "0"}, "ownerSwitchesSinceCheckpoint": {"N": "0"},
              "startingHashKey": {"S": str(lo)}, "endingHashKey": {"S": str(hi)}, "leaseOwner": {"S": "w1"},
              "entityType": {"S": "LEASE"}}
        it.update(kw)
        return it

    now = str(int(time.time()))
    good = [
        L("s-0", 0, half, checkpoint={"S": "SHARD_END"}, childShardIds={"SS": ["s-2", "s-3"]}),
        L("s-1", half + 1, MAXH, checkpoint={"S": "4968"}, throughputKBps={"N": "8.78E-4"}),
        L("s-2", 0, half // 2, parentShardId={"SS": ["s-0"]}, checkpoint={"S": "5000"}),
        L("s-3", half // 2 + 1, half, parentShardId={"SS": ["s-0"]}, leaseOwner={"S": "w2"}, checkpointOwner={"S": "w1"}),
        {"leaseKey": {"S": "Leader"}, "ownerName": {"S": "w1"}, "leaseDuration": {"S": "120000"},
         "recordVersionNumber": {"S": "a"}, "entityType": {"S": "LEADER"}},
        {"leaseKey": {"S": "Migration3.0"}, "cv": {"S": "CLIENT_VERSION_3X"}, "mb": {"S": "w1"}, "mts": {"N": "1"},
         "entityType": {"S": "CLIENT_VERSION_MIGRATION"},
         "h": {"L": [{"M": {"cv": {"S": "CLIENT_VERSION_INIT"}, "mb": {"S": "w1"}, "mts": {"N": "1"}}}]}},
        {"leaseKey": {"S": "w1"}, "lut": {"N": now}, "sts": {"M": {"C": {"L": [{"N": "3.5"}]}}},
         "opr": {"M": {"C": {"L": [{"N": "100"}]}}}, "sup": {"N": "1"}, "slu": {"N": now},
         "entityType": {"S": "WORKER_METRIC_STATS"}},
        {"leaseKey": {"S": "w2"}, "lut": {"N": now}, "sts": {"M": {}}, "opr": {"M": {}}, "sup": {"N": "1"},
         "slu": {"N": now}, "entityType": {"S": "WORKER_METRIC_STATS"}},
    ]

    def edit(key, **kw):
        def f(items):
            for i in items:
                if val(i["leaseKey"]) == key:
                    for n, v in kw.items():
                        if v is None:
                            i.pop(n, None)
                        else:
                            i[n] = v
            return items
        return f

    def drop(key):
        return lambda items: [i for i in items if val(i["leaseKey"]) != key]

    def add(it):
        return lambda items: items + [it]

    static = [
        ("A1", edit("s-1", rustNote={"S": "x"})), ("A1", edit("Leader", extra={"S": "x"})),
        ("A2", edit("s-1", leaseCounter={"S": "5"})), ("A2", edit("s-2", parentShardId={"L": [{"S": "s-0"}]})),
        ("A3", edit("s-1", ownerSwitchesSinceCheckpoint=None)), ("A3", edit("s-1", checkpointSubSequenceNumber=None)),
        ("A3", edit("s-1", pendingCheckpoint={"S": "1"})), ("A4", edit("s-1", checkpoint={"S": "latest"})),
        ("A4", edit("s-1", leaseCounter={"N": "5.5"})), ("A5", edit("s-1", entityType={"S": "RUST"})),
        ("A5", edit("Leader", entityType=None)), ("A5", add({"leaseKey": {"S": "note"}, "x": {"S": "y"}})),
        ("K1", edit("s-1", endingHashKey=None)), ("K1", edit("s-1", startingHashKey={"S": "abc"})),
        ("K2", drop("s-1")), ("K2", edit("s-1", startingHashKey={"S": str(half + 2)})),
        ("L1", edit("s-0", childShardIds=None)), ("L2", drop("s-3")),
        ("L3", edit("s-0", checkpoint={"S": "77"})), ("L4", edit("s-3", leaseOwner={"S": "w1"})),
        ("L4", edit("s-3", leaseOwner=None)), ("M1", edit("w1", opr={"M": {}})),
        ("M1", edit("w1", sts={"M": {"C": {"L": []}}})), ("M1", edit("w1", opr={"M": {"C": {"L": [{"N": "0"}]}}})),
        ("M1", edit("w1", sts={"M": {"C": {"L": [{"N": "180"}]}}})), ("M1", edit("w1", slu=None)),
        ("C1", edit("Migration3.0", cv={"S": "RUST"})), ("C1", edit("Leader", isReleased={"S": "true"})),
        ("C1", edit("Leader", leaseDuration={"S": "2m"})), ("C1", edit("Leader", ownerName=None)),
    ]
    moving = [
        ("T1", edit("s-1", leaseCounter={"N": "4"})), ("T2", edit("s-1", leaseOwner={"S": "w9"})),
        ("T3", edit("s-1", checkpoint={"S": "4967"}, leaseCounter={"N": "6"})),
        ("T3", edit("s-0", checkpoint={"S": "4967"})), ("T4", drop("s-1")),
        ("T8", edit("s-1", startingHashKey={"S": str(half)})),
        ("T4", lambda i: drop("s-0")(edit("s-3", checkpoint={"S": "TRIM_HORIZON"})(i))),
    ]
    name = "invariants-selftest"
    fails = 0

    def put(items):
        if db.call("DescribeTable", {"TableName": name}) is not None:
            db.call("DeleteTable", {"TableName": name})
        db.call("CreateTable", {"TableName": name, "KeySchema": [{"AttributeName": "leaseKey", "KeyType": "HASH"}],
                                "AttributeDefinitions": [{"AttributeName": "leaseKey", "AttributeType": "S"}],
                                "BillingMode": "PAY_PER_REQUEST"})
        for i in items:
            db.call("PutItem", {"TableName": name, "Item": i})
        return db.scan(name)

    def fresh():
        b = argparse.Namespace(**vars(a))
        b.app, b.hole_grace, b.require_index, b.require_metrics = name, 0, False, False
        return Checker(b)

    c = fresh()
    c.look(put(copy.deepcopy(good)), None, None, {}, time.time())
    print(("PASS" if not c.found else "FAIL"), "sound table ->", list(c.found))
    fails += bool(c.found)
    for code, f in static:
        c = fresh()
        c.look(put(f(copy.deepcopy(good))), None, None, {}, time.time())
        ok = any(v.startswith(code) for v in c.found)
        fails += not ok
        print("PASS" if ok else "FAIL", code, "->", list(c.found)[:2])
    for code, f in moving:
        c = fresh()
        c.look(copy.deepcopy(good), None, None, {}, time.time())
        c.look(put(f(copy.deepcopy(good))), None, None, {}, time.time() + 1)
        ok = any(v.startswith(code) for v in c.found)
        fails += not ok
        print("PASS" if ok else "FAIL", code, "(two looks) ->", list(c.found)[:2])
    c = fresh()
    c.look(copy.deepcopy(good), None, None, {}, 1000.0)
    c.look(copy.deepcopy(good), None, None, {}, 1000.0 + a.handoff_limit + 1)
    ok = any(v.startswith("T5") for v in c.found)
    fails += not ok
    print("PASS" if ok else "FAIL", "T5 (handoff stuck) ->", list(c.found)[:2])
    c = fresh()
    legacy = [{"key": {"S": "Leader"}, "ownerName": {"S": "w9"}, "leaseDuration": {"S": "120000"},
               "recordVersionNumber": {"S": "b"}}]
    for n in (0, 1):
        g = copy.deepcopy(good)
        g[4]["recordVersionNumber"] = {"S": "a%d" % n}
        legacy[0]["recordVersionNumber"] = {"S": "b%d" % n}
        c.look(g, copy.deepcopy(legacy), [], {}, 1000.0 + n)
    ok = any(v.startswith("T6") for v in c.found) and any(v.startswith("C2") for v in c.found)
    fails += not ok
    print("PASS" if ok else "FAIL", "T6+C2 (two leaders) ->", list(c.found)[:2])
    db.call("DeleteTable", {"TableName": name})
    return 1 if fails else 0


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--endpoint", required=True)
    p.add_argument("--region", default=os.environ.get("AWS_REGION", "us-east-1"))
    p.add_argument("--app")
    p.add_argument("--table")
    p.add_argument("--coordinator-table")
    p.add_argument("--metrics-table")
    p.add_argument("--watch", type=float, default=0, metavar="SECONDS")
    p.add_argument("--interval", type=float, default=1.0)
    p.add_argument("--hole-grace", type=float, default=15.0, help="a hole, or the lack of the index, must last this long (watch mode)")
    p.add_argument("--handoff-limit", type=float, default=75.0,
                   help="handoff timeout 30 s + failover 10 s + one assignment interval 20 s + slack")
    p.add_argument("--stall-limit", type=float, default=0.0, help="0 = off; ~200 covers the loss of a Java leader")
    p.add_argument("--metric-age", type=float, default=60.0, help="2 x reporter interval")
    p.add_argument("--metric-grace", type=float, default=45.0)
    p.add_argument("--require-metrics", action="store_true")
    p.add_argument("--require-index", action="store_true")
    p.add_argument("--allow-childless", action="store_true", help="stream deleted: SHARD_END without children is normal")
    p.add_argument("--allow-delete", action="store_true")
    p.add_argument("--ignore", default="", help="codes, comma separated")
    p.add_argument("--dump", action="store_true")
    p.add_argument("--selftest", action="store_true")
    a = p.parse_args()
    a.ignore = set(filter(None, a.ignore.split(",")))
    db = Dynamo(a.endpoint, a.region)
    try:
        if a.selftest:
            return selftest(a, db)
        if not a.app:
            p.error("--app")
        return run(a, db)
    except (OSError, RuntimeError) as e:
        print("error:", e, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
