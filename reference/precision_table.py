#!/usr/bin/env python3
"""Writes docs/results/precision.md from the reports of `trefoil evaluate --json`, one for each number format.

    for p in f32 f16 bf16 int8; do trefoil evaluate --data data --count 200 --seed 0 --precision $p --json > $p.json; done
    python precision_table.py f32.json f16.json bf16.json int8.json > ../docs/results/precision.md
"""
import json
import sys

HEAD = """# Quality with weights in fewer bits

The model of the repository, measured by `trefoil evaluate --data data --count 200 --seed 0 --precision FORMAT --json` on the pictures that
[its report](../../models/openmoji-32/REPORT.md) uses, with the same seeds in every column; the table is made by
`reference/precision_table.py`. Its files are in half precision, so that `f32` and `f16` hold the same numbers. In brackets:
half the width of the 95 % interval, where the metric has one.
"""


def main():
    reports = [json.load(open(path)) for path in sys.argv[1:]]
    print(HEAD)
    settings = reports[0]["settings"]
    print(", ".join(f"{k} {v}" for k, v in settings.items() if k != "precision") + ".\n")
    names = [report["settings"]["precision"] for report in reports]
    print("| split | metric |", " | ".join(names), "|")
    print("|---|---|" + "---:|" * len(names))
    for rows in zip(*(report["rows"] for report in reports)):
        assert len({(row["split"], row["metric"]) for row in rows}) == 1
        if rows[0]["metric"].startswith("time of"):
            continue  # of the machine, not of the format
        cells = []
        for row in rows:
            spread = row.get("interval")
            cells.append(f"{row['value']:.4g}" + (f" ({(spread['high'] - spread['low']) / 2:.2g})" if spread else ""))
        print(f"| {rows[0]['split']} | {rows[0]['metric']} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
