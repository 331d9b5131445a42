"""The tests' own tools: what counts what."""
from harness import cargo
from harness.runner import test
from harness.world import check

GOOD = """   Compiling multilangd v0.1.0
     Running unittests src/lib.rs (target/debug/deps/multilangd-1)
test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s
     Running tests/cli.rs (target/debug/deps/cli-1)
test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
   Doc-tests multilangd
test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s"""
RED = GOOD.replace("ok. 3 passed; 0 failed", "FAILED. 1 passed; 2 failed")
DIED = "\n".join(line for line in GOOD.split("\n") if " 3 passed" not in line)
UNBUILT = "   Compiling multilangd v0.1.0\nerror: could not compile `multilangd` (lib) due to 1 previous error"


@test("cargo-count")
def _(world):
    """The count of cargo's tests: green, red, a test program that died, nothing that compiles, nothing at all."""
    for name, text, code, wanted in (("green", GOOD, 0, (15, 0)), ("red", RED, 101, (13, 2)), ("died", DIED, 101, (12, 1)),
                                     ("unbuilt", UNBUILT, 101, (0, 1)), ("nothing", "", 0, (0, 1)),
                                     ("coloured", GOOD.replace("     Running", "\x1b[1m\x1b[92m     Running\x1b[0m"), 0, (15, 0)),
                                     ("code without a cause", GOOD, 101, (15, 1))):
        count = cargo.Count()
        for line in text.split("\n"):
            count.line(line)
        passed, failed, why = count.verdict(code)
        check((passed, failed) == wanted, "%s: counted %s, not %s (%s)" % (name, (passed, failed), wanted, why))
