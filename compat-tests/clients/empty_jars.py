#!/usr/bin/env python3
"""Answer every GET with 200 and nothing: empty_jars.py PORT (0 = any). Prints its address.

Stands in for a jar repository while a Python client installs (KCL_MVN_REPO_SEARCH_URL=http://127.0.0.1:PORT/),
so that the package goes in with empty jars that nothing ever reads.
"""
import http.server
import sys


class Empty(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *a):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Empty)
print("http://127.0.0.1:%d/" % server.server_address[1], flush=True)
server.serve_forever()
