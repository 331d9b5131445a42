"""A fake of the metadata endpoint that ECS gives a task."""
import http.server
import json
import threading
import time


class EcsMetadata:
    """The metadata endpoint of an ECS task of 2 vCPU with two containers of 512 shares; we use half a core."""

    def __init__(self):
        outer, self.asked, self.working = self, [], True
        first = time.time()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                body = outer.answer(self.path, time.time() - first)
                self.send_response(200 if body is not None and outer.working else 500)
                data = json.dumps(body).encode()
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = "http://127.0.0.1:%d/v4/abc" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @staticmethod
    def answer(path, seconds):
        def counters(at):
            at = 1000 + at
            return {"cpu_usage": {"total_usage": int(at * 0.5e9), "usage_in_kernelmode": 1, "usage_in_usermode": 2},
                    "system_cpu_usage": int(at * 4e9), "online_cpus": 4, "throttling_data": {"periods": 0}}
        containers = [{"DockerId": "container-%d" % n, "Name": "c%d" % n, "Limits": {"CPU": 512, "Memory": 128}}
                      for n in range(2)]
        return {"/v4/abc": containers[0],
                "/v4/abc/task": {"Cluster": "default", "Limits": {"CPU": 2, "Memory": 512}, "Containers": containers},
                "/v4/abc/stats": {"read": "x", "cpu_stats": counters(seconds), "precpu_stats": counters(seconds - 1),
                                  "memory_stats": {"usage": 1}}}.get(path)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
