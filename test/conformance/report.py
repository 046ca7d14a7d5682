#!/usr/bin/env python3
"""Runs the table against every proxy that is installed, and writes one page of what each does.

usage: report.py --harness EDGE_HARNESS [--out FILE] [--subject NAME]… [--failures] [WORD…]   WORD: part of area/name
"""
import argparse
import collections
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import runner
import subjects
from tables import ROWS


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--harness", required=True)
    parser.add_argument("--out")
    parser.add_argument("--subject", action="append")
    parser.add_argument("--failures", action="store_true", help="say why each row fails")
    parser.add_argument("--lanes", type=int, default=8)
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    subjects.Slipway.harness = options.harness
    rows = runner.choose(options.words)
    everything = {}
    for kind in subjects.SUBJECTS:
        if options.subject and kind.name.lower() not in [s.lower() for s in options.subject]:
            continue
        if not kind.is_there():
            print("%s is not installed" % kind.name, file=sys.stderr)
            continue
        results = runner.run_rows(rows, kind, options.lanes)
        everything[kind] = results
        good = sum(r.is_ok for r in results)
        print("%-8s %d of %d hold" % (kind.name, good, len(results)), file=sys.stderr)
        if options.failures:
            for result in results:
                if not result.is_ok:
                    print("  %s/%s [%s]: %s" % (result.row.area, result.row.name, result.row.section, result.story))


if __name__ == "__main__":
    main()
