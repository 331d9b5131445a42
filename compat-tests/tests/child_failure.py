"""One bad child hurts only its shard: what fails is started again, and other shards do not notice."""
import base64
import json
import os
import shutil
import time

from harness import world as worlds
from harness.runner import test
from harness.world import check

BAD = "shardId-000000000002"


def gave_up(world, app, daemon):
    """The daemon ends by itself with exit code 1 and leaves nothing behind; the shards whose children began, in order."""
    code, _ = daemon.ended(90 * world.patience)
    check(code == 1, "the exit code was %s, not 1" % code)
    daemon.no_children(2, "after the end of the daemon")
    check(not app.given_back(), app.given_back())
    return [e["shard"] for e in daemon.events("initialize")]


def begin(world, shards, env, **properties):
    """A daemon that has been given one record of each shard to read."""
    backend = world.embedded()
    stream, app = backend.stream("failing", shards), backend.application("failing-app")
    stream.put_to_all("first")
    return stream, app, world.daemon(app, stream=stream, env=env, **{**worlds.QUICK, **properties}).start()


def gaps(daemon, shard, begun, ended):
    """Longest time without a record for the children of `shard`, of the time in which there were some to be had."""
    times = [e["t"] for e in daemon.events("processRecords") if e["shard"] == shard and begun <= e["t"] <= ended]
    return max(b - a for a, b in zip([begun] + times, times + [ended]))


@test("one-child-crashes")
def _(world):
    """One of four children crashes every second; it is started again, gets on, and the other three never stall."""
    stream, app, daemon = begin(world, 4, dict(CRASH_SHARD=BAD, CRASH_AFTER="1"))
    daemon.wait_for("a record of each shard", lambda: {r[0] for r in daemon.records()} == {
        s["ShardId"] for s in stream.shards()}, 90)
    begun, put = time.time(), 0
    while time.time() < begun + 20:
        stream.put_to_all("record-%d" % put)
        put += 1
        time.sleep(0.25)
    ended = time.time()
    wanted = {"first"} | {"record-%d" % n for n in range(put)}
    shards = sorted(s["ShardId"] for s in stream.shards())
    daemon.wait_for("every record of every shard", lambda: all(
        {r[2] for r in daemon.records() if r[0] == shard} == wanted for shard in shards), 60)
    longest = {shard: gaps(daemon, shard, begun, ended) for shard in shards}
    print("   longest time without a record, seconds: %s" % {s[-1]: round(g, 2) for s, g in longest.items()}, flush=True)
    begins = [e["shard"] for e in daemon.events("initialize")]
    check(begins.count(BAD) >= 6, "%s had only %d children" % (BAD, begins.count(BAD)))
    for shard in shards:
        check(shard == BAD or begins.count(shard) == 1, "%s had %d children, not one" % (shard, begins.count(shard)))
        check(shard == BAD or longest[shard] < 2 * world.patience,
              "%s stood still for %.1f s while a neighbour crashed" % (shard, longest[shard]))
        place = 0
        for e in daemon.events("initialize", "processRecords"):
            if e["shard"] != shard:
                continue
            if e["event"] == "initialize":
                place = int(e["sequence"]) if e["sequence"].isdigit() else 0
            for r in e.get("records", []):
                check(int(r[0]) > place, "%s: order broken at %s" % (shard, r[0]))
                place = int(r[0])
    again = len([r for r in daemon.records() if r[0] != BAD]) - 3 * len(wanted)
    check(not again, "%d records of the other shards came twice" % again)
    told = [line for line in daemon.output().split("\n") if BAD in line and "child failed; a fresh one" in line]
    check(len(told) >= 5, "only %d lines told of %d children" % (len(told), begins.count(BAD)))
    for part in ("next_try_in", "SIGALRM", "limit"):
        check(part in told[-1], "`%s` is not in the line '%s'" % (part, told[-1]))
    code, _ = daemon.stop()
    check(code == 143, "the exit code was %s, not 143" % code)
    daemon.no_children(2, "after the end of the daemon")
    check(not app.given_back(), app.given_back())


@test("child-dies-again")
def _(world):
    """A child that dies again and again without a checkpoint: exit code 1 after the limit, the leases given back."""
    _, app, daemon = begin(world, 2, dict(FAIL_ON="processRecords"), **{"multilangd.childRestartLimit": "3"})
    begins = gave_up(world, app, daemon)
    check(max(begins.count(s) for s in set(begins)) == 3, "the children of the shards were started %s" % begins)
    with open(daemon.process.err) as f:
        said = f.read()
    check("failed 3 times without a checkpoint in between (multilangd.childRestartLimit)" in said, "it said: " + said)


@test("child-dies")
def _(world):
    """With multilangd.childFailure = exit the first child that dies ends the daemon with 1, as in Java."""
    _, app, daemon = begin(world, 2, dict(FAIL_ON="processRecords"), **{"multilangd.childFailure": "exit"})
    begins = gave_up(world, app, daemon)
    check(len(begins) == len(set(begins)), "a child was started again: %s" % begins)


@test("child-hangs")
def _(world):
    """A child that exceeds timeoutInSeconds is ended, though it ignores signals, and its shard is begun again."""
    _, _, daemon = begin(world, 2, dict(HANG_ON="processRecords"), timeoutInSeconds="1",
                         **{"multilangd.childRestartLimit": "100"})
    daemon.wait_for("a second child of each shard", lambda: len(daemon.events("processRecords")) >= 4, 90)
    first = {e["pid"] for e in daemon.events("start")[:2]}
    left = first & set(daemon.children())
    check(not left, "these late children are still there: %s" % left)
    check("Timedout to get status message for processRecords action" in daemon.output(), "no line tells why")
    daemon.stop()
    daemon.no_children(2, "after the end of the daemon")


@test("child-vanishes")
def _(world):
    """An executable that is gone when a child is to be started again, and comes back: the shard waits for it."""
    program = world.path("child.py")
    shutil.copy(worlds.LEDGER_CHILD, program)
    os.chmod(program, 0o755)
    stream, _, daemon = begin(world, 1, dict(CRASH_SHARD="shardId-000000000000", CRASH_AFTER="3"),
                              executableName=program, **{"multilangd.childRestartLimit": "100"})
    daemon.wait_for("the first record", daemon.records, 90)
    os.rename(program, program + ".away")
    daemon.wait_for("a line about it", lambda: "was not found at that path" in daemon.output(), 30)
    stream.put_to_all("second")
    os.rename(program + ".away", program)
    daemon.wait_for("the second record", lambda: "second" in {r[2] for r in daemon.records()}, 60)
    daemon.stop()


@test("poison-dead-letter")
def _(world):
    """A record that no child survives is found, written to the dead-letter file and left out; nothing else is."""
    letters = world.path("dead.jsonl")
    stream, app, daemon = begin(world, 1, dict(DIE_OF="word-17"), **{
        "multilangd.onPoison": "deadLetter", "multilangd.deadLetterFile": letters, "multilangd.childRestartLimit": "2"})
    stream.put(40)
    wanted = {"first"} | {"word-%d" % n for n in range(40)}
    daemon.wait_for("the dead letter", lambda: any(line for line in worlds.lines_of(letters)), 90)
    # what the record's own children were given counts as given to nobody
    daemon.wait_for("a checkpoint behind the last record", lambda: app.checkpoints().get("shardId-000000000000") == str(
        max([r[1] for r in daemon.records()])) and {r[2] for r in daemon.records()} == wanted, 60)
    daemon.stop()
    found = [json.loads(line) for line in worlds.lines_of(letters) if line]
    check(len(found) == 1, "%d letters were written, not one" % len(found))
    letter = found[0]
    check(base64.b64decode(letter["data"]) == b"word-17" and letter["partitionKey"] == "pk17" and letter["attempts"] == 2,
          "the letter is %s" % letter)
    check(letter["stream"] == stream.name and "exit status: 7" in letter["error"], "the letter is %s" % letter)
    alone = [e for e in daemon.events("processRecords") if [r[3] for r in e["records"]] == ["word-17"]]
    check(len(alone) == 2, "it was given alone %d times, not 2" % len(alone))
