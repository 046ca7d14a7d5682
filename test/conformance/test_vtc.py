#!/usr/bin/env python3
"""Every vtc/*.vtc, where client and server are both scripted, around the edge role alone. Prints TAP.

usage: test_vtc.py HARNESS [WORD…]     WORD: run only files whose name contains it
"""
import concurrent.futures
import glob
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from subjects import free_ports

HERE = os.path.dirname(os.path.abspath(__file__))
LIMIT_S = 60


def run(harness, path):
    """What varnishtest said when it failed, or None."""
    folder = tempfile.mkdtemp(prefix="vtc-")
    try:
        done = subprocess.run(["varnishtest", "-t", str(LIMIT_S), "-D", "harness=" + os.path.abspath(harness),
                               "-D", "edge_port=%d" % free_ports(1)[0], path], cwd=folder, env=dict(os.environ, TMPDIR=folder),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S + 10)
    except subprocess.TimeoutExpired as error:
        return "no end within %d s: %s" % (LIMIT_S, (error.stdout or b"").decode("utf-8", "replace")[-3000:])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = done.stdout.decode("utf-8", "replace")
    # A sanitizer that speaks is a failure, whatever the scenario says.
    return None if done.returncode == 0 and "Sanitizer" not in text and "runtime error" not in text else text[-6000:]


def main():
    harness, words = sys.argv[1], sys.argv[2:]
    paths = [p for p in sorted(glob.glob(os.path.join(HERE, "vtc", "*.vtc"))) if not words or any(w in os.path.basename(p) for w in words)]
    print("1..%d" % len(paths), flush=True)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for number, (path, story) in enumerate(zip(paths, pool.map(lambda p: run(harness, p), paths)), 1):
            failed += story is not None
            print("%s %d %s" % ("not ok" if story else "ok", number, os.path.basename(path)[:-4].replace("_", " ")), flush=True)
            if story:
                print("# " + story.replace("\n", "\n# "), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
