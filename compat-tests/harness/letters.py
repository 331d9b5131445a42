"""What dead letters are held against: moto, which plays SQS, S3 and Kinesis, and botocore, which signs as well."""
import base64
import hashlib

from . import world as worlds
from .world import check

SMALL = b"poison \x00\xff\xfe \xf0\x9f"         # no text in any encoding
HUGE = b"poison" + bytes(range(256)) * 3600     # in base64 more than a message of SQS, or a record of Kinesis, takes
INSIDE = b"poison in an aggregate"
KEY = "k\u00e9y \"\\ \U0001f980"


class Moto:
    """moto's server, and clients that look at it directly."""

    def __init__(self, world):
        port = worlds.free_port()
        self.url = "http://127.0.0.1:%d" % port
        process = world.spawn("moto", [world.tools.moto(), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)])

        def answers():
            check(process.poll() is None, "moto ended instead of serving\n" + worlds.tail(process.err))
            return worlds._port_open(self.url)
        worlds.wait_for("moto to listen", answers, 60)

    def client(self, service, region="us-east-1"):
        import boto3
        return boto3.client(service, endpoint_url=self.url, region_name=region, aws_access_key_id="x",
                            aws_secret_access_key="y")

    def queue(self, name):
        """Makes a queue; returns what takes everything out of it."""
        sqs = self.client("sqs", "eu-west-1")
        url = sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true"} if name.endswith(".fifo") else {})["QueueUrl"]

        def read():
            found = []
            while True:
                page = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"]).get("Messages", [])
                if not page:
                    return found
                found += page
                for message in page:
                    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return read

    def bucket(self, name):
        """Makes a bucket; returns what reads all its objects: {key: bytes}."""
        s3 = self.client("s3", "eu-west-1")
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        return lambda: {o["Key"]: s3.get_object(Bucket=name, Key=o["Key"])["Body"].read()
                        for o in s3.list_objects_v2(Bucket=name).get("Contents", [])}

    def stream(self, name):
        """Makes a stream of one shard; returns what reads its records."""
        kinesis = self.client("kinesis", "eu-west-1")
        kinesis.create_stream(StreamName=name, ShardCount=1)

        def read():
            at = kinesis.get_shard_iterator(StreamName=name, ShardId="shardId-000000000000",
                                            ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
            return kinesis.get_records(ShardIterator=at)["Records"]
        return read


class Ground:
    """A stream of two shards with three records that no child survives, one of them in an aggregate, and good ones."""

    def __init__(self, world):
        self.world, self.backend = world, world.embedded()
        self.stream = self.backend.stream("orders", 2)
        starts = {s["ShardId"]: s["HashKeyRange"]["StartingHashKey"] for s in self.stream.shards()}
        one, two = sorted(starts)
        inside = aggregate([("a", b"good-3"), (KEY, INSIDE), ("a", b"good-4")], starts[two])
        self.poison = {}        # place: (partition key, data)
        for shard, key, data in [(one, "a", b"good-1"), (one, KEY, SMALL), (one, "a", b"good-2"),
                                 (two, "a", inside), (two, "k", HUGE), (two, "a", b"good-5")]:
            number = self.backend.kinesis.put_record(StreamName="orders", Data=data, PartitionKey=key,
                                                     ExplicitHashKey=starts[shard])["SequenceNumber"]
            if data == inside:
                self.poison[shard, number, 1] = (KEY, INSIDE)
            elif data in (SMALL, HUGE):
                self.poison[shard, number, 0] = (key, data)
        self.ends = {shard: number for shard, (_, number) in self.stream.last_numbers().items()}

    def daemon(self, name, target, env=None, **properties):
        env = dict(DIE_OF="poison*", DIE_SAYING="I cannot eat this", **env or {})
        properties = {**worlds.QUICK, "multilangd.onPoison": "deadLetter", "multilangd.childRestartLimit": "2", **target,
                      **properties}
        return self.world.daemon(self.backend.application("into-" + name), name, env=env, stream=self.stream, **properties).start()

    def finish(self, daemon):
        """Waits until both shards are checkpointed behind their last records; nothing good is missing."""
        daemon.wait_for("the last checkpoints of both shards", lambda: daemon.app.checkpoints() == self.ends, 90)
        good = {r[2] for r in daemon.records() if not r[2].startswith("poison")}
        check(good == {"good-%d" % n for n in range(1, 6)}, "delivered were %s" % good)
        daemon.stop()

    def compare(self, daemon, found, repeats=False):
        """Letters, whole or in parts, are the poison with its context; only if `repeats` a part may be there twice."""
        whole = {}
        for letter in found:
            place = (letter["shard"], letter["sequenceNumber"], letter["subSequenceNumber"])
            check(place in self.poison, "a letter is about %s, which is no poison" % (place,))
            context = dict(application=daemon.app.name, stream="orders", partitionKey=self.poison[place][0], attempts=2)
            check(context.items() <= letter.items(), "the letter %.700s has another context than %s" % (letter, context))
            check("exit status: 7" in letter["error"] and "I cannot eat this" in letter["error"], "its error is %(error)s" % letter)
            check(0 <= letter["time"] - letter["approximateArrivalTimestamp"] < 600e3, "the times of %.700s" % letter)
            part = letter.get("part", 1), letter.get("parts", 1), base64.b64decode(letter["data"], validate=True)
            known = whole.setdefault(place, {}).setdefault(part[0], part)
            check(known is part or repeats and known == part, "part %d of %s is there twice" % (part[0], place))
        check(set(whole) == set(self.poison), "letters are about %s" % sorted(whole))
        for place, parts in whole.items():
            check(set(parts) == set(range(1, parts[1][1] + 1)), "%s came in parts %s" % (place, sorted(parts)))
            check(b"".join(parts[n][2] for n in sorted(parts)) == self.poison[place][1], "the data of %s is other" % (place,))

    def keys(self, prefix):
        """The names of the objects in S3."""
        return {"%sorders/%s/%s%s.json" % (prefix, shard, number, ".%d" % sub if data == INSIDE else "")
                for (shard, number, sub), (_, data) in self.poison.items()}


def check_signature(request, token=None):
    """botocore, asked to sign the very same request at the same time, must come to the same headers."""
    import botocore.auth
    import botocore.awsrequest
    import botocore.credentials
    region, service = request.scope().split(" ")
    signer = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
    auth = signer(botocore.credentials.Credentials("x", "y", token), service, region)
    signed = set(request.header("authorization").split("SignedHeaders=")[1].split(",")[0].split(";"))
    must = {k.lower() for k, _ in request.headers if k.lower().startswith(("x-amz-", "content-type", "content-md5", "host"))}
    check(must <= signed, "%s %s does not sign %s" % (request.method, request.target, sorted(must - signed)))
    theirs = {"x-amz-date", "x-amz-security-token", "x-amz-content-sha256"}
    given = {k: v for k, v in request.headers if k.lower() in signed - theirs}
    again = botocore.awsrequest.AWSRequest(method=request.method, url="http://" + request.header("host") + request.target,
                                           headers=given, data=request.body)
    again.context["timestamp"] = request.header("x-amz-date")
    auth._modify_request_before_signing(again)
    canonical = auth.canonical_request(again)
    auth._inject_signature_to_request(again, auth.signature(auth.string_to_sign(again, canonical), again))
    for name in sorted(theirs | {"authorization"}):
        wanted, got = again.headers.get(name) or "", request.header(name)
        check(wanted == got, "%s %s, header %s:\n  ours      %s\n  botocore  %s\n%s" % (
            request.method, request.target, name, got, wanted, canonical))


def aggregate(records, hash_key):
    """One record in the format of the KPL: magic, protobuf AggregatedRecord, MD5. records: (partition key, data)."""
    def number(n):
        return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + number(n >> 7)

    def field(tag, data):
        return bytes([tag << 3 | 2]) + number(len(data)) + data
    keys = list(dict.fromkeys(key for key, _ in records))
    message = b"".join(field(1, key.encode()) for key in keys) + field(2, hash_key.encode())
    for key, data in records:
        message += field(3, b"\x08" + number(keys.index(key)) + b"\x10\x00" + field(3, data))
    return b"\xf3\x89\x9a\xc2" + message + hashlib.md5(message).digest()
