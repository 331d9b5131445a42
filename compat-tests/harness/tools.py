"""Fetches what the tests need, once, through the ordinary package clients; all of it lands under target/compat.

Nothing is skipped in silence: a tool that is missing is installed (Debian, as root), or is a ToolMissing
whose one sentence says what to install.
"""
import glob
import os
import shutil
import subprocess
import sys
import tarfile
import threading

from .world import COMPAT, REPO

KCLPY = "3.2.0"
KINESIS_LOCAL = "0.6.2"
CACHE = os.path.join(REPO, "target", "compat")

#: program -> Debian packages that bring it
PACKAGES = {"cc": ["gcc", "libc6-dev"], "node": ["nodejs", "npm"], "npm": ["nodejs", "npm"],
            "java": ["default-jre-headless"], "mvn": ["maven"], "go": ["golang-go"], "php": ["php-cli"],
            "elixir": ["elixir", "erlang-jiffy"]}


class ToolMissing(Exception):
    """One sentence: what is missing, and what to do."""


def say(text):
    print("   " + text, flush=True)


def run(what, command, log, **more):
    """Runs a package client; its output goes to `log`, and into the sentence when it fails."""
    os.makedirs(os.path.dirname(log), exist_ok=True)
    with open(log, "ab") as f:
        code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=f, stderr=subprocess.STDOUT, **more).returncode
    if code:
        with open(log, errors="replace") as f:
            last = [line.strip() for line in f if line.strip()][-3:]
        raise ToolMissing("%s failed (exit %d); log: %s; it ends: %s" % (what, code, log, " / ".join(last)))


_apt = threading.Lock()
_apt_updated = False


def apt_install(packages, why):
    """Debian and root, or a sentence that says what to install by hand."""
    global _apt_updated
    with _apt:
        if not shutil.which("apt-get") or os.geteuid() != 0:
            raise ToolMissing("%s is missing and cannot be installed from here: install %s (Debian: apt-get install %s)" % (
                why, " and ".join(packages), " ".join(packages)))
        env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        log = os.path.join(CACHE, "log", "apt.log")
        if not _apt_updated:
            say("apt-get update")
            run("apt-get update", ["apt-get", "update", "-q"], log, env=env)
            _apt_updated = True
        say("apt-get install " + " ".join(packages))
        run("apt-get install %s" % " ".join(packages),
            ["apt-get", "install", "-qy", "--no-install-recommends"] + packages, log, env=env)


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            apt_install(PACKAGES.get(program, [program]), "the program `%s`" % program)
            if not shutil.which(program):
                raise ToolMissing("`%s` is still not on the PATH after installing %s" % (program, PACKAGES.get(program)))


class Tools:
    """Each method makes sure of one thing and returns where it is. Safe to call from several tests at once."""

    def __init__(self, cache=CACHE):
        self.cache = cache
        self._lock = threading.Lock()
        self._known = {}

    def _once(self, name, make):
        with self._lock:
            if name not in self._known:
                try:
                    self._known[name] = make()
                except ToolMissing as missing:
                    self._known[name] = missing
            if isinstance(self._known[name], ToolMissing):
                raise self._known[name]
            return self._known[name]

    def _log(self, name):
        return os.path.join(self.cache, "log", name + ".log")

    def venv(self):
        """A Python of our own with boto3."""
        return self._once("venv", self._venv)

    def _venv(self):
        folder = os.path.join(self.cache, "venv")
        python = os.path.join(folder, "bin", "python")
        works = [python, "-c", "import boto3"]
        # A tree that was moved takes its venv along, but the venv's programs still name the old place.
        sound = os.path.exists(python) and _reads(os.path.join(folder, ".home")) == folder
        if sound and subprocess.run(works, capture_output=True).returncode == 0:
            return python
        say("Python environment with boto3")
        shutil.rmtree(folder, ignore_errors=True)
        try:
            run("python3 -m venv", [sys.executable, "-m", "venv", folder], self._log("venv"))
        except ToolMissing:
            # Debian keeps ensurepip in a package of its own.
            apt_install(["python3-venv"], "Python's venv")
            shutil.rmtree(folder, ignore_errors=True)
            run("python3 -m venv", [sys.executable, "-m", "venv", folder], self._log("venv"))
        run("pip install boto3", [python, "-m", "pip", "install", "--disable-pip-version-check", "boto3>=1.34"],
            self._log("venv"))
        run("import boto3", works, self._log("venv"))
        with open(os.path.join(folder, ".home"), "w") as f:
            f.write(folder)
        return python

    def kclpy(self):
        """The venv's Python, with the unmodified amazon_kclpy in it, installed without its 85 jars."""
        return self._once("kclpy", self._kclpy) if self.venv() else None

    def _kclpy(self):
        python = self._known["venv"]
        works = [python, "-c", "import amazon_kclpy.v3.processor, importlib.metadata as m; "
                               "assert m.version('amazon_kclpy') == '%s'" % KCLPY]
        if subprocess.run(works, capture_output=True).returncode == 0:
            return python
        say("amazon_kclpy %s" % KCLPY)
        # Its install step fetches jars that only the Java daemon reads: an empty stand-in repository answers it.
        jars = subprocess.Popen([sys.executable, os.path.join(COMPAT, "clients", "empty_jars.py"), "0"],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        try:
            url = jars.stdout.readline().strip()
            run("pip install amazon_kclpy==%s" % KCLPY,
                [python, "-m", "pip", "install", "--disable-pip-version-check", "amazon_kclpy==%s" % KCLPY],
                self._log("kclpy"), env=dict(os.environ, KCL_MVN_REPO_SEARCH_URL=url))
        finally:
            jars.kill()
            jars.wait()
        run("import amazon_kclpy", works, self._log("kclpy"))
        return python

    def moto(self):
        """The venv's Python, with moto's server in it, as far as SQS, S3 and Kinesis need it."""
        return self._once("moto", self._moto) if self.venv() else None

    def _moto(self):
        python = self._known["venv"]
        works = [python, "-c", "import moto.server, moto.s3.responses, moto.sqs.responses, moto.kinesis.responses"]
        if subprocess.run(works, capture_output=True).returncode == 0:
            return python
        say("moto")
        # `moto[server]` is for all services and takes three times the room.
        run("pip install moto", [python, "-m", "pip", "install", "--disable-pip-version-check", "moto[kinesis,s3,sqs]>=5.0",
                                 "flask", "flask-cors"], self._log("moto"))
        run("import moto.server", works, self._log("moto"))
        return python

    def old_kclpy(self, version):
        """The source of an amazon_kclpy of old, for PYTHONPATH: its install step wants jars, its modules do not."""
        return self._once("kclpy-" + version, lambda: self._old_kclpy(version)) if self.venv() else None

    def _old_kclpy(self, version):
        folder = os.path.join(self.cache, "kclpy-old")
        python, source = os.path.join(folder, "venv", "bin", "python"), os.path.join(folder, "amazon_kclpy-" + version)
        if not os.path.exists(source):
            say("amazon_kclpy %s" % version)
            pip = [python, "-m", "pip", "--disable-pip-version-check"]
            log = self._log("kclpy-" + version)
            run("python3 -m venv", [sys.executable, "-m", "venv", os.path.dirname(os.path.dirname(python))], log)
            # What its setup.py was written for; a later one refuses its syntax.
            run("pip install setuptools", pip + ["install", "setuptools<70", "wheel"], log)
            run("pip download amazon_kclpy==" + version, pip + [
                "download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--dest", folder,
                "amazon_kclpy==" + version], log)
            with tarfile.open(source + ".tar.gz") as archive:
                archive.extractall(folder)
        return source

    def rust_child(self, name):
        """The program of `clients/NAME`, a Cargo package."""
        return self._once(name, lambda: self._rust_child(name))

    def _rust_child(self, name):
        need("cc")
        target = os.path.join(self.cache, "rust")
        run("cargo build of clients/" + name, ["cargo", "build", "--locked", "--target-dir", target], self._log(name),
            cwd=os.path.join(COMPAT, "clients", name))
        return os.path.join(target, "debug", "probe-" + name)

    def go_child(self, name):
        """The program of `clients/NAME`, a Go module."""
        return self._once(name, lambda: self._go_child(name))

    def _go_child(self, name):
        need("go")
        program = os.path.join(self.cache, "go", name)
        run("go build of clients/" + name, ["go", "build", "-o", program], self._log(name),
            cwd=os.path.join(COMPAT, "clients", name))
        return program

    def jiffy(self):
        """Erlang's JSON library: the folder of its modules, for Elixir's -pa."""
        need("elixir")
        found = glob.glob("/usr/lib/erlang/lib/jiffy-*/ebin")
        if not found:
            apt_install(["erlang-jiffy"], "Erlang's jiffy")
            found = glob.glob("/usr/lib/erlang/lib/jiffy-*/ebin")
        return found[0]

    def kinesis_local(self):
        """npm's kinesis-local: the path of its main.js."""
        return self._once("kinesis-local", self._kinesis_local)

    def _kinesis_local(self):
        need("node")
        folder = os.path.join(self.cache, "npm")
        main = os.path.join(folder, "node_modules", "kinesis-local", "main.js")
        if not os.path.exists(main):
            need("npm")
            say("npm kinesis-local %s" % KINESIS_LOCAL)
            os.makedirs(folder, exist_ok=True)
            run("npm install kinesis-local", ["npm", "install", "--no-fund", "--no-audit", "--prefix", folder,
                                              "kinesis-local@" + KINESIS_LOCAL], self._log("npm"))
        return main

    def dynamodb_local(self):
        """Amazon's DynamoDB Local from Maven: the folder of its jars."""
        return self._once("dynamodb-local", lambda: self._jars("dynamodb-local"))

    def java_daemon(self):
        """The reference daemon 3.5.1 from Maven; its own small jar is in no registry and comes from MULTILANG_JAR."""
        return self._once("kcl-3.5.1", self._java_daemon)

    def _java_daemon(self):
        jar = os.environ.get("MULTILANG_JAR", "")
        if not os.path.isfile(jar):
            raise ToolMissing("no Java column: set MULTILANG_JAR to amazon-kinesis-client-multilang-3.5.1.jar (built from the "
                              "tag v3.5.1; it is in no registry)" + (", '%s' is no file" % jar if jar else ""))
        folder = self._jars("kcl-3.5.1")
        shutil.copy(jar, folder)
        return folder

    def java_worker(self, version):
        """A Java daemon for fleets: 3.5.1 (with its own multilang jar if MULTILANG_JAR names it), 3.1.3 or 2.5.4."""
        return self._once("fleet-" + version, lambda: self._java_worker(version))

    def _java_worker(self, version):
        if version == "3.5.1" and os.environ.get("MULTILANG_JAR"):
            return self._java_daemon()
        return self._jars("fleet-" + version)

    def _jars(self, name):
        need("java")
        folder = os.path.join(self.cache, "jars", name)
        if not os.path.exists(os.path.join(folder, ".complete")):
            need("mvn")
            say("Maven: %s" % name)
            run("compat-tests/java/fetch.sh %s" % name,
                [os.path.join(COMPAT, "java", "fetch.sh"), name, folder], self._log("maven-" + name))
        return folder

    def kclpy_sample(self):
        """The library's own sample application, as it was installed."""
        python = self.kclpy()
        found = glob.glob(os.path.join(os.path.dirname(os.path.dirname(python)), "lib", "python3*", "site-packages",
                                       "samples", "sample_kclpy_app.py"))
        if not found:
            raise ToolMissing("amazon_kclpy %s came without samples/sample_kclpy_app.py" % KCLPY)
        return found[0]


def _reads(path):
    try:
        with open(path) as f:
            return f.read()
    except OSError:
        return None
