#!/usr/bin/env python3
"""Recording HTTP proxy for the DynamoDB JSON protocol, which can cut a worker off (standard library only).

    ddb_proxy.py --upstream http://localhost:8000 --out ops.jsonl [--bodies]

Told what to do by lines on standard input, each answered by `ok` on standard output:

    listen PORT LABEL   a port of its own for the worker LABEL
    cut LABEL           from now on its requests hang, as in a network partition: none reaches the table
    mend LABEL          the hung requests end without an answer (they never happened); later ones go through

One JSON object a line, in the order in which the answers came:

    t0, t1   wall clock, seconds: request read, answer read (null when cut)
    w        label of the worker
    op       operation, e.g. UpdateItem
    status   HTTP status (null when cut)
    req, resp   bodies, with --bodies

Authorization headers are never written.
"""
import argparse
import http.client
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "proxy-connection", "expect", "upgrade"}


class Recorder:
    def __init__(self, path, bodies):
        self.file, self.bodies, self.lock = open(path, "w", buffering=1), bodies, threading.Lock()

    def write(self, line, request, answer):
        if self.bodies:
            line.update(req=_json(request), resp=_json(answer))
        with self.lock:
            self.file.write(json.dumps(line, separators=(",", ":")) + "\n")


class Worker:
    """The network between one worker and the table: whole, or cut."""

    def __init__(self, label):
        self.label, self.whole = label, threading.Event()
        self.whole.set()

    def lets_through(self):
        """At once when whole. When cut: False, after the cut has ended."""
        if self.whole.is_set():
            return True
        self.whole.wait()
        return False


def handler_for(worker, upstream, recorder):
    url, local = urlsplit(upstream), threading.local()

    def connection(fresh):
        if fresh or getattr(local, "connection", None) is None:
            local.connection = http.client.HTTPConnection(url.hostname, url.port, timeout=120)
        return local.connection

    def forward(path, body, headers):
        for attempt in (0, 1):
            try:
                c = connection(fresh=attempt == 1)      # the upstream may have closed an idle connection
                c.request("POST", path, body=body, headers=headers)
                answer = c.getresponse()
                return answer.status, answer.getheaders(), answer.read()
            except (http.client.HTTPException, OSError):
                continue
        return 500, [], b'{"__type":"InternalServerError"}'

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_):
            pass

        def body(self):
            if "chunked" not in (self.headers.get("Transfer-Encoding") or "").lower():
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            whole = b""
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                if size == 0:
                    while self.rfile.readline().strip():
                        pass
                    return whole
                whole += self.rfile.read(size)
                self.rfile.readline()

        def do_POST(self):
            request, began = self.body(), time.time()
            line = {"t0": round(began, 4), "t1": None, "w": worker.label,
                    "op": (self.headers.get("X-Amz-Target") or "?").split(".")[-1], "status": None}
            if not worker.lets_through():
                recorder.write(line, request, b"null")
                self.close_connection = True
                return
            headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP}
            headers.update({"Host": url.netloc, "Accept-Encoding": "identity"})
            status, given, answer = forward(self.path, request, headers)
            line.update(t1=round(time.time(), 4), status=status)
            recorder.write(line, request, answer)
            if not worker.lets_through():           # done, but the answer is lost
                self.close_connection = True
                return
            try:
                self.send_response_only(status)
                for name, value in given:
                    if name.lower() not in HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
            except OSError:
                self.close_connection = True

    return Handler


def _json(body):
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass                # a worker that was killed leaves its connections in the middle of a line


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--upstream", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--bodies", action="store_true")
    a = ap.parse_args()
    recorder, workers = Recorder(a.out, a.bodies), {}
    for line in sys.stdin:
        command, *words = line.split()
        if command == "listen":
            port, label = words
            worker = workers.setdefault(label, Worker(label))
            server = Server(("127.0.0.1", int(port)), handler_for(worker, a.upstream, recorder))
            threading.Thread(target=server.serve_forever, daemon=True).start()
        elif command == "cut":
            workers[words[0]].whole.clear()
        elif command == "mend":
            workers[words[0]].whole.set()
        else:
            sys.exit("ddb_proxy: '%s' is no command; listen, cut and mend are" % command)
        print("ok", flush=True)


if __name__ == "__main__":
    main()
