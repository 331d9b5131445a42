"""A Recorder stands between a daemon and a service and keeps each request as it came over the wire."""
import datetime
import http.client
import http.server
import socket
import ssl
import struct
import threading
import urllib.parse

#: Headers of a connection, not of an answer.
OF_CONNECTION = {"content-length", "connection", "transfer-encoding", "date", "server"}


class Request:
    def __init__(self, method, target, headers, body):
        self.method, self.target, self.headers, self.body = method, target, headers, body

    def header(self, name):
        return ", ".join(v for k, v in self.headers if k.lower() == name)

    def scope(self):
        """What it is signed for: `eu-west-1 s3`."""
        return " ".join(self.header("authorization").split("Credential=")[1].split(",")[0].split("/")[2:4])


class Recorder:
    """Passes requests on to `service` as they are. `fault(number, request)` may say what becomes of one instead: an answer
    (status, headers, body), 'reset' before an answer, 'cut' within it. `after(number, request)` is told when the service
    has answered, and the daemon has not heard of it yet. With a `certificate` it is a proxy, too, that looks into TLS."""

    def __init__(self, service, fault=None, after=None, certificate=None):
        self.service, self.fault, self.after = urllib.parse.urlsplit(service).netloc, fault, after
        self.requests, self.lock = [], threading.Lock()
        recorder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def one(self):
                try:
                    recorder._one(self)
                except (ConnectionError, ssl.SSLError):
                    self.close_connection = True    # a daemon was killed
            do_GET = do_HEAD = do_POST = do_PUT = one

            def do_CONNECT(self):
                self.send_response_only(200)
                self.end_headers()
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(certificate)
                try:
                    self.connection = context.wrap_socket(self.connection, server_side=True)
                except (ConnectionError, ssl.SSLError):
                    self.close_connection = True    # the daemon says why
                    return
                self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", buffering=0)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = "http://127.0.0.1:%d" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _one(self, handler):
        length = int(handler.headers.get("content-length") or 0)
        request = Request(handler.command, handler.path, list(handler.headers.items()), handler.rfile.read(length))
        with self.lock:
            self.requests.append(request)
            number = len(self.requests) - 1
        answer = self.fault and self.fault(number, request)
        if answer == "reset":
            return _reset(handler)
        cut = answer == "cut"
        if answer is None or cut:
            answer = self._forward(request)
            if self.after:
                self.after(number, request)
        status, headers, body = answer
        handler.send_response_only(status)
        for name, value in headers:
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(body) + 100 * cut))
        handler.end_headers()
        if request.method != "HEAD":
            handler.wfile.write(body)
        if cut:
            _reset(handler)

    def _forward(self, request):
        service = http.client.HTTPConnection(self.service, timeout=60)
        service.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers:
            service.putheader(name, value)
        service.endheaders(request.body)
        answer = service.getresponse()
        body = answer.read()
        service.close()
        return answer.status, [(k, v) for k, v in answer.getheaders() if k.lower() not in OF_CONNECTION], body


def _reset(handler):
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


def certificates(world, names):
    """An authority made up for this test, for AWS_CA_BUNDLE, and what a Recorder needs to look like all `names`."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def make(name, issuer, issuer_key, key, extension):
        now = datetime.datetime.now(datetime.timezone.utc)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        return (x509.CertificateBuilder().subject_name(name).issuer_name(issuer or name).public_key(key.public_key())
                .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
                .not_valid_after(now + datetime.timedelta(days=1)).add_extension(extension, critical=True)
                .sign(issuer_key, hashes.SHA256()))
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    authority = make("nobody", None, keys[0], keys[0], x509.BasicConstraints(ca=True, path_length=None))
    names = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    server = make("all of them", authority.subject, keys[0], keys[1], names)
    bundle, certificate = world.path("authority.pem"), world.path("server.pem")
    with open(bundle, "wb") as f:
        f.write(authority.public_bytes(serialization.Encoding.PEM))
    with open(certificate, "wb") as f:
        f.write(server.public_bytes(serialization.Encoding.PEM))
        f.write(keys[1].private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                      serialization.NoEncryption()))
    return bundle, certificate
