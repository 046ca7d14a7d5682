#!/usr/bin/env python3
"""Every row of the table against the edge role alone. Prints TAP.

usage: test_conformance.py HARNESS [WORD…]     WORD: run only rows whose area or name contains it
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import runner
import subjects


def main():
    subjects.Slipway.harness = sys.argv[1]
    rows = runner.choose(sys.argv[2:])
    rows += runner.over_tls(rows)
    print("1..%d" % (len(rows) + 1), flush=True)
    count, failed = 0, 0

    def tell(result):
        nonlocal count, failed
        count += 1
        failed += not result.is_ok
        print("%s %d %s/%s (%s)" % ("ok" if result.is_ok else "not ok", count, result.row.area,
                                    result.row.name.replace("#", "number"), result.row.section), flush=True)
        if not result.is_ok:
            print("# %s" % result.story, flush=True)

    # What the edge says when it ends is a result too: sanitizers speak there.
    try:
        runner.run_rows(rows, subjects.Slipway, 8, tell)
        ended = None
    except AssertionError as error:
        ended = str(error)
    while count < len(rows):
        count += 1
        failed += 1
        print("not ok %d a row did not run" % count)
    print("%s %d the edges end well" % ("not ok" if ended else "ok", len(rows) + 1))
    if ended:
        print("# " + ended.replace("\n", "\n# "))
    return 1 if failed or ended else 0


if __name__ == "__main__":
    sys.exit(main())
