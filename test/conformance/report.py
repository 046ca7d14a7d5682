#!/usr/bin/env python3
"""Runs the table against every proxy that is installed, and writes one page of what each does.

usage: report.py --harness EDGE_HARNESS [--out FILE] [--subject NAME]… [--failures] [WORD…]   WORD: part of area/name
"""
import argparse
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import runner
import subjects

HEAD = """# Conformance of HTTP intermediaries

Written by `bench/conformance`; do not edit. One row of `test/conformance/rows/` is one requirement of RFC 9110, 9112,
9113, 8441 or 7541 that concerns an intermediary, or one sequence of request smuggling; a row holds when what reached the
origin, what reached the client and what became of the connection are one of the behaviours that the text allows. A few
rows ask for more than a MUST; their section says so. Every proxy runs as Debian packs it, with the configuration that
its manual recommends for an application behind it (`test/conformance/subjects.py`), over loopback, in front of the same
scripted origin. Over HTTP/2 the client speaks TLS; to Varnish, which has none of its own, plain HTTP/2.

The rows were written beside Slipway, so that it holds most of them says little; what the others do not hold is a reason
to look at the row and at the RFC, not a verdict on them: many of these versions are years old, and a row may be wrong.
"""


def cells(values):
    return "| " + " | ".join(values) + " |\n"


def table(everything):
    kinds = list(everything)
    areas = []
    for results in everything.values():
        for result in results:
            if result.row.area not in areas:
                areas.append(result.row.area)
    lines = [cells(["subject"] + ["%s %s" % (k.name, k.version()) for k in kinds]), cells(["---"] * (len(kinds) + 1))]

    def count(results):
        return "%d / %d" % (sum(r.is_ok for r in results), len(results)) if results else "–"

    for area in areas:
        lines.append(cells([area] + [count([r for r in everything[k] if r.row.area == area]) for k in kinds]))
    lines.append(cells(["**all**"] + ["**%s**" % count(everything[k]) for k in kinds]))
    return "".join(lines)


def page(everything):
    parts = [HEAD, "\n", table(everything)]
    for kind, results in everything.items():
        failed = [r for r in results if not r.is_ok]
        parts.append("\n## %s %s: %s\n\n" % (kind.name, kind.version(), "every row holds" if not failed else
                                               "%d rows do not hold" % len(failed)))
        if not any(r.row.protocol == "h2" for r in results):
            parts.append("No HTTP/2 was spoken with it.\n\n")
        for result in failed:
            story = " ".join(result.failures[0].replace("|", "\\|").split())
            parts.append("- %s: %s (%s): `%s`\n" % (result.row.area, result.row.name, result.row.section,
                                                    (story[:140] + "…" if len(story) > 140 else story).replace("`", "'")))
    return "".join(parts)


def run(kind, rows, lanes):
    """All rows beside each other; when the proxy died of one of them, those that met nobody one by one, anew."""
    died = []

    def start(ports):
        subject = kind(ports)
        stop = subject.stop

        def stop_and_look():
            if subject.has_died():
                died.append(True)
            stop()
        subject.stop = stop_and_look
        return subject

    results = runner.run_rows(rows, start, lanes)
    left = [i for i, r in enumerate(results) if died and not r.is_ok and r.is_unmet]
    while left:
        again = runner.run_rows([results[i].row for i in left], start, 1, stop_at_death=True)
        for i, result in zip(left, again):
            results[i] = result
        left = left[len(again):]
    return results


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
        started = time.monotonic()
        everything[kind] = results = run(kind, rows, options.lanes)
        print("%-8s %d of %d rows hold, %.0f s" % (kind.name, sum(r.is_ok for r in results), len(results),
                                                   time.monotonic() - started), file=sys.stderr)
        for result in results:
            if options.failures and not result.is_ok:
                print("  %s/%s [%s]: %s" % (result.row.area, result.row.name, result.row.section, result.story))
    if options.out:
        with open(options.out, "w") as out:
            out.write(page(everything))


if __name__ == "__main__":
    main()
