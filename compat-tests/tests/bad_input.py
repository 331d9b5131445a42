"""Bad input: exit code 1, one sentence that names the thing, nothing left behind."""
import http.server
import json
import os
import re
import threading

from harness import world as worlds
from harness.runner import test
from harness.world import check


def refused(world, daemon, *names, seconds=30, app=None):
    """Starts it, expects exit 1 in good time and a line on stderr that holds every one of `names`."""
    daemon.start()
    code, _ = daemon.ended(seconds * world.patience)
    check(code == 1, "the exit code was %s, not 1\n%s" % (code, worlds.tail(daemon.process.err)))
    with open(daemon.process.err, errors="replace") as f:
        lines = [line.rstrip() for line in f]
    check("panicked at" not in "".join(lines), "it panicked\n" + worlds.tail(daemon.process.err))
    telling = [line for line in lines if all(re.search(n, line, re.IGNORECASE) for n in names)]
    check(telling, "no line on stderr holds %s\n%s" % (" and ".join(names), worlds.tail(daemon.process.err)))
    check(len(lines) <= 8, "%d lines on stderr for one fault\n%s" % (len(lines), worlds.tail(daemon.process.err)))
    daemon.no_children(2, "after a refused start")
    if app:
        check(not app.given_back(), app.given_back())


def fixture(world, **properties):
    backend = world.embedded()
    stream, app = backend.stream("bad", 1), backend.application("bad-app")
    return app, world.daemon(app, stream=stream, **{**worlds.QUICK, **properties})


@test("bad-no-file")
def _(world):
    """The properties file does not exist."""
    missing = world.path("nowhere.properties")
    refused(world, world.daemon(None, command=[world.binary, "--properties-file", missing]), "nowhere.properties", seconds=5)


@test("bad-folder")
def _(world):
    """The properties file is a folder."""
    folder = world.path("a-folder")
    os.makedirs(folder)
    refused(world, world.daemon(None, command=[world.binary, "--properties-file", folder]), "a-folder", seconds=5)


@test("bad-required-key")
def _(world):
    """executableName, applicationName or the stream is missing: each is named."""
    for key in ("executableName", "applicationName"):
        app, daemon = fixture(world, **{key: None})
        words = {"executableName": "executable", "applicationName": "application *name"}[key]
        refused(world, daemon, words, seconds=5, app=app)
        os.remove(daemon.process.err)
    app, daemon = fixture(world, streamName=None)
    refused(world, daemon, "stream", seconds=5, app=app)


@test("bad-value")
def _(world):
    """A value that stops the Java daemon stops ours, and is named with its key."""
    for key, value in (("maxActiveThreads", "ten"), ("initialPositionInStream", "THE_MIDDLE"), ("retrievalMode", "PIGEON")):
        app, daemon = fixture(world, **{key: value})
        refused(world, daemon, key, value, seconds=5, app=app)
        os.remove(daemon.process.err)


@test("bad-executable-missing")
def _(world):
    """executableName names a program that does not exist."""
    app, daemon = fixture(world, executableName="/nonexistent/program --x")
    refused(world, daemon, "/nonexistent/program", app=app)
    os.remove(daemon.process.err)
    app, daemon = fixture(world, executableName="no-such-program-on-the-path.py")
    refused(world, daemon, "no-such-program-on-the-path.py", app=app)


@test("bad-executable-mode")
def _(world):
    """executableName names a file that is not executable."""
    file = world.path("not-executable.py")
    with open(file, "w") as f:
        f.write("#!/usr/bin/env python3\n")
    os.chmod(file, 0o644)
    app, daemon = fixture(world, executableName=file)
    refused(world, daemon, "not-executable.py", "execut|permission", app=app)


@test("bad-stream")
def _(world):
    """The stream does not exist."""
    app, daemon = fixture(world, streamName="no-such-stream")
    refused(world, daemon, "no-such-stream", app=app)


@test("bad-credentials")
def _(world):
    """No credentials anywhere."""
    nothing = dict(AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None, AWS_EC2_METADATA_DISABLED="true",
                   AWS_CONFIG_FILE="/nonexistent", AWS_SHARED_CREDENTIALS_FILE="/nonexistent", HOME=world.directory)
    backend = world.embedded()
    stream, app = backend.stream("bad", 1), backend.application("bad-app")
    refused(world, world.daemon(app, stream=stream, env=nothing), "credentials", app=app)


@test("bad-endpoint")
def _(world):
    """An endpoint refuses the connection: Kinesis', then DynamoDB's."""
    for key in ("kinesisEndpoint", "dynamoDBEndpoint"):
        url = "http://127.0.0.1:%d" % worlds.free_port()
        app, daemon = fixture(world, schedulerInitializationBackoffTimeMillis=100, **{key: url})
        refused(world, daemon, re.escape(url.split("//")[1]))
        os.remove(daemon.process.err)


class Denier(http.server.BaseHTTPRequestHandler):
    """Answers every request of either service as IAM does when the policy has no statement for it."""
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        action = self.headers.get("x-amz-target", "").split(".")[-1]
        body = json.dumps({"__type": "AccessDeniedException", "message":
                           "User: arn:aws:iam::123456789012:user/u is not authorized to perform: %s" % action}).encode()
        self.send_response(400)
        self.send_header("content-type", "application/x-amz-json-1.1")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@test("bad-policy")
def _(world):
    """The policy allows nothing: the action that is missing is named, for Kinesis, then for DynamoDB."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Denier)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = "http://127.0.0.1:%d" % server.server_port
    try:
        for key, action in (("kinesisEndpoint", "kinesis:DescribeStreamSummary"), ("dynamoDBEndpoint", "dynamodb:DescribeTable")):
            app, daemon = fixture(world, **{key: url})
            refused(world, daemon, action, "policy", seconds=10)
            os.remove(daemon.process.err)
    finally:
        server.shutdown()
