"""What a black-box test is made of: a backend, streams, a lease table, a daemon, and the ledger of its children.

Everything a test starts is a process of its own with a mark in its environment, so that at the end
"nothing is left behind" can be asked of the machine instead of being believed.
"""
import hashlib
import json
import os
import shlex
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
COMPAT = os.path.dirname(HERE)
REPO = os.path.dirname(COMPAT)
if " " in REPO:
    # executableName is split at blanks, with no way to quote one: go by a link without.
    link = os.path.join(tempfile.gettempdir(), "multilangd-%s" % hashlib.sha256(REPO.encode()).hexdigest()[:12])
    if not os.path.islink(link):
        os.symlink(REPO, link)
    REPO = link
    HERE, COMPAT = os.path.join(REPO, "compat-tests", "harness"), os.path.join(REPO, "compat-tests")
LEDGER_CHILD = os.path.join(COMPAT, "clients", "ledger.py")

#: Java's intervals made short, the ones of the recorded courses.
QUICK = {
    "failoverTimeMillis": "4000", "leaseAssignmentIntervalMillis": "2000", "shardSyncIntervalMillis": "1000",
    "idleTimeBetweenReadsInMillis": "300", "parentShardPollIntervalMillis": "1000",
}


class Failed(Exception):
    """A test failed; the text is one sentence for the person who reads the output."""


def check(holds, sentence):
    if not holds:
        raise Failed(sentence)


def wait_for(what, condition, seconds, step=0.1):
    """Waits until `condition()` is true and returns its value; a Failed that says `what` was awaited otherwise."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed("waited %g s in vain for %s" % (seconds, what))
        time.sleep(step)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def lines_of(path):
    try:
        with open(path, errors="replace") as f:
            return f.read().split("\n")
    except OSError:
        return []


def tail(path, lines=12):
    try:
        with open(path, errors="replace") as f:
            return "".join("      | " + l for l in f.readlines()[-lines:])
    except OSError:
        return ""


class World:
    """One test's folder, processes and clean-up."""

    def __init__(self, name, directory, binary, tools, patience=1.0):
        self.name, self.directory, self.binary, self.tools, self.patience = name, directory, binary, tools, patience
        self.mark = "%s-%s" % (name, uuid.uuid4().hex[:8])
        self.started = []
        self.counter = 0
        self.ours = "ours"      # who plays our part in a fleet
        self.bodies = False     # whether requests to the table are recorded whole
        self.row = None         # what a table of results says of this test
        os.makedirs(directory, exist_ok=True)

    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    def environment(self, **more):
        """The caller's environment without its AWS account, with stand-in credentials and our mark."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_") or k == "AWS_CA_BUNDLE"}
        env.update(AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="y", AWS_REGION="us-east-1",
                   AWS_EC2_METADATA_DISABLED="true", CBOR_ENABLED="false",   # Java: JSON, as we speak
                   COMPAT_MARK=self.mark)
        env.update(more)
        return {k: v for k, v in env.items() if v is not None}

    def spawn(self, name, command, env=None, cwd=None, stdin=subprocess.DEVNULL):
        self.counter += 1
        out = self.path("%s.out" % name)
        err = self.path("%s.err" % name)
        with open(out, "ab") as o, open(err, "ab") as e:
            process = subprocess.Popen(command, stdin=stdin, stdout=o, stderr=e, env=env or self.environment(),
                                       cwd=cwd or self.directory, start_new_session=True)
        process.out, process.err = out, err
        self.started.append(process)
        return process

    def survivors(self, mark):
        """Processes, with their command lines, whose environment carries `mark`."""
        wanted, found = b"COMPAT_DAEMON=" + mark.encode() + b"\0", {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/environ" % pid, "rb") as f:
                    if wanted not in f.read() + b"\0":
                        continue
                with open("/proc/%s/stat" % pid) as f:
                    if f.read().rsplit(")", 1)[1].split()[0] == "Z":
                        continue
                with open("/proc/%s/cmdline" % pid) as f:
                    found[int(pid)] = f.read().replace("\0", " ").strip()
            except (OSError, IndexError):
                continue
        return found

    def close(self):
        for process in reversed(self.started):
            if process.poll() is None:
                process.kill()
                process.wait()
        wanted = b"COMPAT_MARK=" + self.mark.encode()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/environ" % pid, "rb") as f:
                    if wanted in f.read().split(b"\0"):
                        os.kill(int(pid), signal.SIGKILL)
            except OSError:
                continue

    # ---- backends

    def embedded(self):
        """`multilangd local`: Kinesis and DynamoDB of the daemon's own binary."""
        kinesis, dynamodb = free_port(), free_port()
        process = self.spawn("backend-%d" % kinesis, [self.binary, "local", "--kinesis-port", str(kinesis),
                                                      "--dynamodb-port", str(dynamodb)])
        backend = Backend("http://127.0.0.1:%d" % kinesis, "http://127.0.0.1:%d" % dynamodb)
        self._up("`multilangd local`", process, backend)
        for line in ("kinesis %s" % backend.kinesis_url, "dynamodb %s" % backend.dynamodb_url):
            wait_for("`multilangd local` to print the line '%s'" % line, lambda: line in lines_of(process.out), 5)
        backend.process = process
        return backend

    def second_opinion(self):
        """npm's kinesis-local and Amazon's DynamoDB Local: not written, not chosen, by us."""
        kinesis, tls, dynamodb = free_port(), free_port(), free_port()
        main = self.tools.kinesis_local()
        # It reads server.json, its certificate, from the working directory.
        k = self.spawn("kinesis-local", ["node", main], cwd=os.path.dirname(main),
                       env=self.environment(KINESIS_MOCK_PLAIN_PORT=str(kinesis), KINESIS_MOCK_TLS_PORT=str(tls),
                                            LOG_LEVEL="ERROR"))
        folder = self.tools.dynamodb_local()
        d = self.spawn("dynamodb-local", [
            "java", "-Xmx256m", "-Djava.library.path=" + folder, "-cp", os.path.join(folder, "*"),
            "com.amazonaws.services.dynamodbv2.local.main.ServerRunner", "-inMemory", "-port", str(dynamodb),
            "-disableTelemetry"])
        backend = Backend("http://127.0.0.1:%d" % kinesis, "http://127.0.0.1:%d" % dynamodb)
        self._up("npm kinesis-local", k, backend)
        self._up("DynamoDB Local", d, backend)
        return backend

    def _up(self, name, process, backend):
        def answers():
            if process.poll() is not None:
                raise Failed("%s ended with code %s instead of serving\n%s" % (
                    name, process.returncode, tail(process.err) or tail(process.out)))
            try:
                backend.kinesis.list_streams()
                backend.dynamodb.list_tables()
                return True
            except Exception:
                # Either half may still be starting; which of them does not answer is asked of each in turn.
                return name == "npm kinesis-local" and _port_open(backend.kinesis_url)
        wait_for("%s to answer" % name, answers, 60)

    # ---- daemons

    def daemon(self, app, name="w1", command=None, env=None, **properties):
        return Daemon(self, app, name, command or [self.binary, "--properties-file", "{properties}"], env or {}, properties)


def _port_open(url):
    host, port = url.rsplit("/", 1)[1].split(":")
    with socket.socket() as s:
        return s.connect_ex((host, int(port))) == 0


class Backend:
    def __init__(self, kinesis_url, dynamodb_url):
        import boto3
        from botocore.config import Config
        keys = dict(region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y",
                    config=Config(retries={"max_attempts": 4}, connect_timeout=5, read_timeout=20))
        self.kinesis_url, self.dynamodb_url = kinesis_url, dynamodb_url
        self.kinesis = boto3.client("kinesis", endpoint_url=kinesis_url, **keys)
        self.dynamodb = boto3.client("dynamodb", endpoint_url=dynamodb_url, **keys)

    def stream(self, name, shards):
        self.kinesis.create_stream(StreamName=name, ShardCount=shards)
        self.settled(name)
        return Stream(self, name)

    def settled(self, name):
        def active():
            try:
                summary = self.kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
                return summary["StreamStatus"] == "ACTIVE"
            except self.kinesis.exceptions.ResourceNotFoundException:
                return False            # kinesis-local: not visible at once
        wait_for("stream %s to become ACTIVE" % name, active, 30)

    def application(self, name):
        return Application(self, name)


class Stream:
    def __init__(self, backend, name):
        self.backend, self.name, self.count = backend, name, 0

    def put(self, count, first=None):
        """Puts the next `count` words: word-0, word-1, ... with keys pk0, pk1, ...; or those from `first` on."""
        self.count = self.count if first is None else first
        while count:
            n = min(count, 100)
            answer = self.backend.kinesis.put_records(StreamName=self.name, Records=[
                {"Data": b"word-%d" % i, "PartitionKey": "pk%d" % i} for i in range(self.count, self.count + n)])
            check(not answer["FailedRecordCount"], "the backend refused records")
            self.count, count = self.count + n, count - n

    def put_to_all(self, text):
        """One record to each open shard."""
        for shard in self.shards():
            if "EndingSequenceNumber" not in shard["SequenceNumberRange"]:
                self.backend.kinesis.put_record(StreamName=self.name, Data=text.encode(), PartitionKey="all",
                                                ExplicitHashKey=shard["HashKeyRange"]["StartingHashKey"])

    def shards(self):
        return self.backend.kinesis.list_shards(StreamName=self.name)["Shards"]

    def last_numbers(self):
        """What lies in each shard: {shard: (records, last sequence number or None)}."""
        found, kinesis = {}, self.backend.kinesis
        for shard in self.shards():
            at = kinesis.get_shard_iterator(StreamName=self.name, ShardId=shard["ShardId"],
                                            ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
            count, last, empty = 0, None, 0
            while at and empty < 2:
                page = kinesis.get_records(ShardIterator=at)
                count += len(page["Records"])
                last = page["Records"][-1]["SequenceNumber"] if page["Records"] else last
                at, empty = page.get("NextShardIterator"), empty + (not page["Records"])
            found[shard["ShardId"]] = (count, last)
        return found

    def split(self, shard):
        r = next(s["HashKeyRange"] for s in self.shards() if s["ShardId"] == shard)
        middle = (int(r["StartingHashKey"]) + int(r["EndingHashKey"])) // 2 + 1
        self.backend.kinesis.split_shard(StreamName=self.name, ShardToSplit=shard, NewStartingHashKey=str(middle))
        self.backend.settled(self.name)

    def merge(self, shard, adjacent):
        self.backend.kinesis.merge_shards(StreamName=self.name, ShardToMerge=shard, AdjacentShardToMerge=adjacent)
        self.backend.settled(self.name)


class Application:
    """The lease table, read as another worker would read it."""

    def __init__(self, backend, name):
        self.backend, self.name = backend, name

    def rows(self):
        try:
            rows, more = [], {}
            while True:
                page = self.backend.dynamodb.scan(TableName=self.name, ConsistentRead=True, **more)
                rows += page["Items"]
                if "LastEvaluatedKey" not in page:
                    return {r["leaseKey"]["S"]: r for r in rows}
                more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
        except self.backend.dynamodb.exceptions.ResourceNotFoundException:
            return {}

    def leases(self):
        return {k: r for k, r in self.rows().items() if "checkpoint" in r}

    def checkpoints(self):
        return {k: r["checkpoint"]["S"] for k, r in self.leases().items()}

    def owners(self):
        return {k: r["leaseOwner"]["S"] for k, r in self.leases().items() if "leaseOwner" in r}

    def lock(self):
        """The leader's lock, wherever this application keeps it; {} when nobody has it."""
        return self.coordinator_row("Leader")

    def coordinator_row(self, row):
        """A row of the coordinator, from the old table of 3.0-3.4 or else from the lease table; {} if there is none."""
        dynamodb = self.backend.dynamodb
        for table, key in ((self.name + "-CoordinatorState", "key"), (self.name, "leaseKey")):
            try:
                item = dynamodb.get_item(TableName=table, Key={key: {"S": row}}, ConsistentRead=True).get("Item")
            except dynamodb.exceptions.ResourceNotFoundException:
                continue
            if item:
                return item
        return {}

    def given_back(self):
        """What a graceful stop must leave: no owner, no lock, no metric row. Returns what is wrong, or ''."""
        rows, wrong = self.rows(), []
        wrong += ["lease %s still has owner %s" % kv for kv in self.owners().items()]
        lock = rows.get("Leader")
        if lock:
            wrong.append("the leader lock is still there, owner %s" % lock.get("ownerName", {}).get("S"))
        wrong += ["metric row of worker %s is still there" % k for k, r in rows.items()
                  if r.get("entityType", {}).get("S") == "WORKER_METRIC_STATS"]
        return "; ".join(wrong)


class Daemon:
    """A daemon under test with its properties file, its outputs and its children's ledger."""

    def __init__(self, world, app, name, command, env, properties):
        self.world, self.app, self.name, self.command, self.process = world, app, name, command, None
        self.run_id = "%s-%s" % (name, uuid.uuid4().hex[:8])
        self.ledger = world.path("%s.ledger" % name)
        self.properties_file = world.path("%s.properties" % name)
        self.env = world.environment(LEDGER=self.ledger, COMPAT_DAEMON=self.run_id, **env)
        stream = properties.pop("stream", None)
        self.properties = {
            "executableName": "python3 " + LEDGER_CHILD, "applicationName": app.name if app else "nobody",
            "AwsCredentialsProvider": "DefaultCredentialsProvider", "processingLanguage": "python/3",
            "initialPositionInStream": "TRIM_HORIZON", "regionName": "us-east-1", "metricsLevel": "NONE",
            "workerId": name, "retrievalMode": "POLLING",
        }
        if stream:
            self.properties["streamName"] = getattr(stream, "name", stream)
        if app:
            self.properties.update(kinesisEndpoint=app.backend.kinesis_url, dynamoDBEndpoint=app.backend.dynamodb_url)
        self.properties.update(properties)
        self.properties = {k: v for k, v in self.properties.items() if v is not None}

    def start(self):
        with open(self.properties_file, "w") as f:
            f.writelines("%s = %s\n" % kv for kv in self.properties.items())
        words = [w.replace("{properties}", self.properties_file) for w in self.command]
        self.began = time.time()
        self.process = self.world.spawn(self.name, words, env=self.env)
        return self

    @property
    def alive(self):
        return self.process.poll() is None

    def must_live(self):
        if not self.alive:
            raise Failed("the daemon %s ended with code %s by itself\n%s" % (
                self.name, self.process.returncode, tail(self.process.err) or tail(self.process.out)))

    def wait_for(self, what, condition, seconds, step=0.1):
        """As the free wait_for, but gives up at once when the daemon ends."""
        def both():
            value = condition()
            if not value:
                self.must_live()
            return value
        try:
            return wait_for(what, both, seconds * self.world.patience, step)
        except Failed as e:
            raise Failed("%s\n%s" % (e, tail(self.process.out, 6) + tail(self.process.err, 6))) from None

    def send(self, number):
        if self.alive:
            self.process.send_signal(number)

    def ended(self, seconds):
        """Waits for the end: (exit code, seconds it took)."""
        began = time.monotonic()
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed("the daemon %s still ran %g s later" % (self.name, seconds)) from None
        return code, time.monotonic() - began

    def stop(self, number=signal.SIGTERM, seconds=40):
        self.send(number)
        return self.ended(seconds)

    def output(self):
        text = ""
        for path in (self.process.out, self.process.err):
            with open(path, errors="replace") as f:
                text += f.read()
        return text

    def events(self, *kinds):
        """What the children wrote down, oldest first."""
        try:
            with open(self.ledger) as f:
                lines = f.read().split("\n")[:-1]
        except FileNotFoundError:
            return []
        found = [json.loads(line) for line in lines]
        return [e for e in found if not kinds or e["event"] in kinds]

    def records(self):
        """Every record its children were given: (shard, sequence number, text), in order of delivery."""
        return [(e["shard"], int(r[0]), r[3]) for e in self.events("processRecords") for r in e["records"]]

    def children(self):
        """Living processes that this daemon started."""
        found = self.world.survivors(self.run_id)
        found.pop(self.process.pid, None)
        return found

    def no_children(self, seconds, when):
        try:
            wait_for("", lambda: not self.children(), seconds)
        except Failed:
            raise Failed("%s, these children still ran %g s later: %s" % (when, seconds, self.children())) from None


class HungEndpoint:
    """Accepts connections and never says a word."""

    def __init__(self):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(64)
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.held = []
        threading.Thread(target=self._hold, daemon=True).start()

    def _hold(self):
        while True:
            try:
                self.held.append(self.listener.accept())
            except OSError:
                return


def command_line(text):
    return shlex.split(text)
