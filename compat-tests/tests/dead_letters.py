"""Dead letters in services that we have not written: moto's SQS, S3 and Kinesis, read back by boto3, signed as botocore does."""
import json
import os
import signal

from harness import letters, wire, world as worlds
from harness.runner import test
from harness.world import check

TOKEN = "FwoGZXIvYXdzEJr//////////wEaDP+a/b=="
PAGE = (200, [("content-type", "text/html")], b"<html>Please log in</html>")
#: What comes before an answer that counts; none of it may.
TROUBLE = [(503, [], b""), PAGE, "reset", "cut"]
MOVED = (400, [("content-type", "application/xml")], b"<Error><Code>AuthorizationHeaderMalformed</Code>"
         b"<Message>the region 'us-east-1' is wrong</Message><Region>eu-west-1</Region></Error>")


def trouble(number, _):
    return TROUBLE[number] if number < len(TROUBLE) else None


def moved(number, request):
    """A bucket of eu-west-1, as S3 in us-east-1 speaks of it."""
    return MOVED if request.scope() != "eu-west-1 s3" else trouble(number - 1, request)


def signed(way, *scopes):
    """All that was sent is signed as botocore does it, for these regions and services."""
    for request in way.requests:
        letters.check_signature(request, TOKEN)
    found = {request.scope() for request in way.requests}
    check(found == set(scopes), "requests were signed for %s" % sorted(found))


def read(bodies):
    return [json.loads(body) for body in bodies]


@test("letters-to-services")
def _(world):
    """SQS, FIFO and not, and S3 get each letter whole through an outage, a proxy's page, a reset and half an answer."""
    ground, moto = letters.Ground(world), letters.Moto(world)
    plain, fifo, objects = moto.queue("dead_1"), moto.queue("dead-2.fifo"), moto.bucket("my.letters")
    ways = [wire.Recorder(moto.url, trouble), wire.Recorder(moto.url, trouble), wire.Recorder(moto.url, moved)]
    token = dict(AWS_SESSION_TOKEN=TOKEN)
    daemons = [
        ground.daemon("plain", {"multilangd.deadLetterQueue": ways[0].url + "/123456789012/dead_1"}, token,
                      regionName="eu-west-1"),
        ground.daemon("fifo", {"multilangd.deadLetterQueue": ways[1].url + "/123456789012/dead-2.fifo"}, token,
                      regionName="eu-west-1"),
        ground.daemon("s3", {"multilangd.deadLetterS3": "s3://my.letters/app=1/a b+c~d:'(\\u00fc)%20"},
                      dict(AWS_ENDPOINT_URL_S3=ways[2].url, **token)),
    ]
    for daemon in daemons:
        ground.finish(daemon)
        told = daemon.output().count("dead letter cannot be stored")
        check(told in (1, 2), "%d lines tell of the outage" % told)      # of each shard that met it
    signed(ways[0], "eu-west-1 sqs")
    signed(ways[1], "eu-west-1 sqs")
    signed(ways[2], "us-east-1 s3", "eu-west-1 s3")
    ground.compare(daemons[0], read(m["Body"] for m in plain()), repeats=True)
    messages = fifo()
    ground.compare(daemons[1], read(m["Body"] for m in messages))
    groups = {m["Attributes"]["MessageGroupId"] == json.loads(m["Body"])["shard"] for m in messages}
    check(groups == {True}, "messages are not in the groups of their shards")
    found = objects()
    ground.compare(daemons[2], read(found.values()))
    check(set(found) == ground.keys("app=1/a b+c~d:'(\u00fc)%20/"), "the objects are %s" % sorted(found))
    request = ways[2].requests[-1]
    try:
        letters.check_signature(wire.Request(request.method, request.target, request.headers, request.body + b" "), TOKEN)
    except worlds.Failed:
        return
    raise worlds.Failed("the check of signatures does not notice another body")


@test("letters-to-addresses")
def _(world):
    """The services' own addresses, through a proxy: queue, bucket with and without dots, stream, each in another region."""
    ground, moto = letters.Ground(world), letters.Moto(world)
    hosts = {"queue": "sqs.eu-west-1.amazonaws.com", "dots": "s3.eu-west-1.amazonaws.com",
             "bucket": "no-dots.s3.eu-west-1.amazonaws.com", "stream": "123456789012.data-kinesis.eu-west-1.amazonaws.com"}
    bundle, certificate = wire.certificates(world, [*hosts.values(), "s3.us-east-1.amazonaws.com", "*.s3.us-east-1.amazonaws.com"])
    targets = {
        "queue": ("Queue", "https://%s/123456789012/dead" % hosts["queue"], moto.queue("dead")),
        "dots": ("S3", "s3://my.letters", moto.bucket("my.letters")),
        "bucket": ("S3", "s3://no-dots/", moto.bucket("no-dots")),
        "stream": ("Stream", "arn:aws:kinesis:eu-west-1:123456789012:stream/letters", moto.stream("letters")),
    }

    def elsewhere(_, request):
        """A bucket's region is in the answer to HEAD only."""
        if request.scope() == "us-east-1 s3":
            return 301, [("x-amz-bucket-region", "eu-west-1")] if request.method == "HEAD" else [], b""
    ways, daemons = {}, {}
    for name, (kind, value, _) in targets.items():
        ways[name] = wire.Recorder(moto.url, elsewhere, certificate=certificate)
        env = dict(HTTPS_PROXY=ways[name].url, NO_PROXY="127.0.0.1", AWS_CA_BUNDLE=bundle, AWS_SESSION_TOKEN=TOKEN)
        daemons[name] = ground.daemon(name, {"multilangd.deadLetter" + kind: value}, env)
    for daemon in daemons.values():
        ground.finish(daemon)
    for name, (kind, _, found) in targets.items():
        signed(ways[name], "eu-west-1 " + dict(Queue="sqs", S3="s3", Stream="kinesis")[kind], *["us-east-1 s3"] * (kind == "S3"))
        called = {r.header("host") for r in ways[name].requests if r.scope().startswith("eu-west-1")}
        check(called == {hosts[name]}, "%s was looked for at %s" % (name, called))
        kept = found()
        ground.compare(daemons[name], read(kept.values() if kind == "S3" else [m.get("Body") or m["Data"] for m in kept]))
        check(kind != "S3" or set(kept) == ground.keys(""), "in %s are %s" % (name, kept))


@test("letters-killed")
def _(world):
    """kill -9 when a letter is stored and nobody has heard of it: it comes again, and what a FIFO queue keeps fits together."""
    ground, moto = letters.Ground(world), letters.Moto(world)
    fifo, objects = moto.queue("dead.fifo"), moto.bucket("letters")
    killed = {}

    def kill(name, when):
        def after(_, request):
            if name not in killed and when in request.body:
                killed[name] = True
                os.kill(daemons[name].process.pid, signal.SIGKILL)
                daemons[name].process.wait()
        return after
    # of the record in several messages, the second; of the objects, the first
    ways = {"fifo": wire.Recorder(moto.url, after=kill("fifo", b'\\"part\\":2')),
            "s3": wire.Recorder(moto.url, after=kill("s3", b"sequenceNumber"))}
    env = dict(AWS_ENDPOINT_URL_SQS=ways["fifo"].url, AWS_ENDPOINT_URL_S3=ways["s3"].url)
    daemons = {}
    for name, target in [("fifo", {"multilangd.deadLetterQueue": "https://sqs.eu-west-1.amazonaws.com/123456789012/dead.fifo"}),
                         ("s3", {"multilangd.deadLetterS3": "s3://letters"})]:
        daemons[name] = ground.daemon(name, target, env)
    for name, daemon in daemons.items():
        worlds.wait_for("the letter after which %s is killed" % name, lambda: name in killed and not daemon.alive, 60)
        check(daemon.app.checkpoints() != ground.ends, "the checkpoint was there before the letter")
        # what it says now takes more room beside the data
        daemon.env["DIE_SAYING"] = "I cannot eat this\n" + "\x01" * 290
        daemon.start()
    for daemon in daemons.values():
        ground.finish(daemon)
    ground.compare(daemons["fifo"], read(m["Body"] for m in fifo()))
    found = objects()
    ground.compare(daemons["s3"], read(found.values()))
    check(set(found) == ground.keys(""), "the objects are %s" % sorted(found))
    twice = [r.target for r in ways["s3"].requests]
    check(len(twice) == len(set(twice)) + 1, "objects were put: %s" % twice)
