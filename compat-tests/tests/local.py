"""`multilangd local` and `multilangd put`, as boto3 sees them."""
import signal
import subprocess

from harness import world as worlds
from harness.runner import test
from harness.world import check


@test("local-streams")
def _(world):
    """local --stream NAME:SHARDS makes the streams, and SIGTERM ends it at once."""
    kinesis, dynamodb = worlds.free_port(), worlds.free_port()
    p = world.spawn("local", [world.binary, "local", "--kinesis-port", str(kinesis), "--dynamodb-port", str(dynamodb),
                              "--stream", "one:1", "--stream", "three:3"])
    backend = worlds.Backend("http://127.0.0.1:%d" % kinesis, "http://127.0.0.1:%d" % dynamodb)

    def shards(name):
        try:
            return len(backend.kinesis.list_shards(StreamName=name)["Shards"])
        except Exception:
            return None
    worlds.wait_for("stream `one` with 1 shard and `three` with 3", lambda: (shards("one"), shards("three")) == (1, 3), 20)
    p.send_signal(signal.SIGTERM)
    try:
        p.wait(2)
    except subprocess.TimeoutExpired:
        raise worlds.Failed("`multilangd local` still served 2 s after SIGTERM") from None


@test("put-lines")
def _(world):
    """put without --words writes the lines of standard input, each a record, in order."""
    backend = world.embedded()
    stream = backend.stream("lines", 1)
    lines = ["first line", "", "zweite Zeile: äöü", "x" * 100000, "last"]
    with open(world.path("lines"), "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")
    with open(world.path("lines"), "rb") as f:
        p = world.spawn("put", [world.binary, "put", "--stream", stream.name, "--endpoint", backend.kinesis_url], stdin=f)
    check(p.wait(30) == 0, "`multilangd put` exited with %s\n%s" % (p.returncode, worlds.tail(p.err)))
    at = backend.kinesis.get_shard_iterator(StreamName=stream.name, ShardId="shardId-000000000000",
                                            ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    got = [r["Data"].decode() for r in backend.kinesis.get_records(ShardIterator=at)["Records"]]
    check([g for g in got if g] == [line for line in lines if line], "other records than lines: %s" % [g[:40] for g in got])


@test("put-no-stream")
def _(world):
    """put to a stream that does not exist: exit 1, and the stream is named."""
    backend = world.embedded()
    p = world.spawn("put", [world.binary, "put", "--stream", "no-such-stream", "--endpoint", backend.kinesis_url, "--words", "3"])
    check(p.wait(30) == 1, "the exit code was %s, not 1" % p.returncode)
    with open(p.err) as f:
        check("no-such-stream" in f.read(), "stderr does not name the stream\n" + worlds.tail(p.err))


@test("local-shards-end")
def _(world):
    """The stand-in itself: a split shard is read to its end and names its children; ListShards filters and pages."""
    backend = world.embedded()
    stream, k = backend.stream("ends", 1), backend.kinesis
    stream.put(5)
    stream.split("shardId-000000000000")
    at = k.get_shard_iterator(StreamName=stream.name, ShardId="shardId-000000000000",
                              ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    got, page = 0, {}
    for _ in range(10):
        page = k.get_records(ShardIterator=at)
        got, at = got + len(page["Records"]), page.get("NextShardIterator")
        if not at:
            break
    check(got == 5 and not at, "read %d records, next iterator %s" % (got, at))
    children = sorted(c["ShardId"] for c in page.get("ChildShards", []))
    check(children == ["shardId-000000000001", "shardId-000000000002"], "the last answer named the children %s" % children)
    latest = k.list_shards(StreamName=stream.name, ShardFilter={"Type": "AT_LATEST"})["Shards"]
    check(len(latest) == 2, "AT_LATEST lists %d shards, not the 2 open ones" % len(latest))
    first = k.list_shards(StreamName=stream.name, MaxResults=2)
    rest = k.list_shards(NextToken=first["NextToken"])["Shards"]
    check(len(first["Shards"]) + len(rest) == 3, "two pages hold %d shards, not 3" % (len(first["Shards"]) + len(rest)))
