"""Collects the black-box tests, runs some of them at a time, and tells what came of each."""
import concurrent.futures
import contextlib
import fcntl
import importlib.util
import os
import shutil
import threading
import time
import traceback

from . import tools as tooling, world as worlds

TESTS = []
#: Tests that wait, for each job of the others.
WAITING = 2


def test(name, heavy=False, alone=False, waits=False):
    """Marks a function of one World as a test. heavy: only with --all. alone: nothing beside it (it times things).
    waits: it mostly waits, so that several run beside each other."""
    def mark(function):
        TESTS.append(dict(name=name, function=function, heavy=heavy, alone=alone, waits=waits,
                          about=(function.__doc__ or "").strip().split("\n")[0]))
        return function
    return mark


def collect():
    folder = os.path.join(worlds.COMPAT, "tests")
    for file in sorted(os.listdir(folder)):
        if file.endswith(".py"):
            spec = importlib.util.spec_from_file_location("tests_" + file[:-3], os.path.join(folder, file))
            spec.loader.exec_module(importlib.util.module_from_spec(spec))


@contextlib.contextmanager
def only_run(tools):
    """Waits until no other run of tests is under way in this work tree: two would write into each other's folders."""
    os.makedirs(tools.cache, exist_ok=True)
    with open(os.path.join(tools.cache, ".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("   waiting for another run in this work tree", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Run:
    def __init__(self, binary, tools, patience, jobs, ours="ours", bodies=False):
        self.binary, self.tools, self.patience, self.jobs = binary, tools, patience, jobs
        self.ours, self.bodies = ours, bodies
        self.lock = threading.Lock()
        self.rows = {}

    def one(self, t):
        folder = os.path.join(self.tools.cache, "runs", t["name"])
        shutil.rmtree(folder, ignore_errors=True)
        world = worlds.World(t["name"], folder, self.binary, self.tools, self.patience)
        world.ours, world.bodies = self.ours, self.bodies
        began, wrong = time.monotonic(), None
        try:
            t["function"](world)
        except (worlds.Failed, tooling.ToolMissing) as e:
            wrong = str(e)
        except Exception:
            wrong = "the test itself broke\n" + traceback.format_exc()
        finally:
            world.close()
        seconds = time.monotonic() - began
        with self.lock:
            self.rows[t["name"]] = world.row
            print("%-6s %-28s %6.1f s" % ("FAILED" if wrong else "ok", t["name"], seconds) +
                  ("   %s\n       files: %s" % (wrong, os.path.relpath(folder, worlds.REPO)) if wrong else ""), flush=True)
        return wrong is None

    def all(self, tests, waiting=None):
        """Returns (passed, failed). waiting: how many of the tests that wait run at a time."""
        results = []
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            results += pool.map(self.one, [t for t in tests if not t["alone"] and not t["waits"]])
        with concurrent.futures.ThreadPoolExecutor(waiting or self.jobs * WAITING) as pool:
            results += pool.map(self.one, [t for t in tests if t["waits"]])
        results += [self.one(t) for t in tests if t["alone"]]
        return sum(results), len(results) - sum(results)
