"""Runs `cargo test` and counts, also when a test binary dies or nothing compiles."""
import re
import subprocess
import sys
import threading

RESULT = re.compile(r"^test result: (?:ok|FAILED)\. (\d+) passed; (\d+) failed; (\d+) ignored;")
GOLDEN = re.compile(r"^golden: (\d+)/(\d+)$")     # the last line of a program that plays recorded cases
BEGINS = re.compile(r"^\s+(?:Running|Doc-tests) ")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Count:
    """Reads cargo's lines. A binary that began and gave no result died, and counts as one failure."""

    def __init__(self):
        self.passed = self.failed = self.ignored = self.began = self.results = 0

    def line(self, text):
        text = COLOUR.sub("", text)
        found = RESULT.match(text)
        if found:
            p, f, i = map(int, found.groups())
            self.passed, self.failed, self.ignored = self.passed + p, self.failed + f, self.ignored + i
            self.results += 1
        elif GOLDEN.match(text):
            right, cases = map(int, GOLDEN.match(text).groups())
            self.passed, self.failed = self.passed + right, self.failed + cases - right
            self.results += 1
        elif BEGINS.match(text):
            self.began += 1

    def verdict(self, code):
        """(passed, failed, why): what cargo's exit code says counts, whatever was printed."""
        failed, why = self.failed, []
        died = max(0, self.began - self.results)
        if died:
            failed += died
            why.append("%d test program(s) ended without a result" % died)
        if code and not failed:
            failed = 1
            why.append("cargo test exited with %d before any test failed: it does not compile, or cargo could not run" % code)
        if not code and not self.results:
            failed = 1
            why.append("cargo test ran no test program at all")
        return self.passed, failed, "; ".join(why)


def run(command, cwd):
    """Streams the output through and returns (passed, failed, why)."""
    count, lock = Count(), threading.Lock()
    try:
        process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, errors="replace")
    except FileNotFoundError:
        return 0, 1, "`%s` is not on the PATH: install a Rust toolchain (https://rustup.rs)" % command[0]

    def pump(pipe, to):
        for line in pipe:
            with lock:
                count.line(line)
                to.write(line)
                to.flush()

    readers = [threading.Thread(target=pump, args=a) for a in ((process.stdout, sys.stdout), (process.stderr, sys.stderr))]
    for r in readers:
        r.start()
    for r in readers:
        r.join()
    return count.verdict(process.wait())
