#!/usr/bin/env python3
"""Makes docs/results/verify.md from the output of `trefoil verify --json`.

    python reference/sensitivity.py DIR... > sensitivity.jsonl
    trefoil verify --json DIR... | python reference/verify_table.py --sensitivity sensitivity.jsonl > docs/results/verify.md

Each DIR is one that `unidiffuser_oracle.py` (or a copy of it with other sizes) wrote.
"""
import argparse
import json
import os
import sys


def number(value):
    return "different" if value is None else "0" if value == 0 else f"{value:.0e}".replace("e-0", "e-")


def scientific(value):
    return f"{value:.1e}".replace("e-0", "e-")


def whole_runs(folders, heads, sensitivity):
    """The comparisons that are not judged, and what PyTorch does with the same runs."""
    rows = []
    for head, folder in zip(heads, folders):
        for group in folder["groups"]:
            for check in group["checks"]:
                tolerance = check["tolerance"]
                if isinstance(tolerance, dict) and "chaotic" in tolerance:
                    rows.append(f"| {head} | `{group['name']}` | {check['what']} | {number(check['relative'])} | "
                                f"{scientific(tolerance['chaotic'])} |")
    print("\n## Whole runs and rounding\n")
    print("Guided runs of a network with random weights multiply rounding. Every run is therefore compared twice: from beginning "
          "to end, and evaluation by evaluation, with the network asked about the recorded states and the solver given the "
          "recorded predictions; the second way has no chaos in it and covers every step. A whole run that differs by more than is "
          "allowed counts as a failure unless the same run of this program, with every random number one unit in its last place "
          "larger, moves by more than a tenth of what is allowed.\n")
    if rows:
        print("| folder | group | compared | difference | moved by the last bit |\n|---|---|---|---|---|")
        print("\n".join(rows))
    else:
        print("No whole run of these folders needed the exception.")
    if sensitivity:
        print("\nPyTorch with itself (`reference/sensitivity.py`): the runs of the double-precision reference again in single "
              "precision, and the joint run of diffusers with its start one unit in the last place larger.\n")
        print("| run | " + " | ".join(heads) + " |\n|---|" + "---|" * len(heads))
        for name in sensitivity[0]["single_precision"]:
            print(f"| `{name}` in single precision | " + " | ".join(scientific(s["single_precision"][name]) for s in sensitivity) + " |")
        print("| `pipeline_joint`, last bit of the start | " + " | ".join(scientific(s["joint_nudged"]) for s in sensitivity) + " |")


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--sensitivity", help="output of sensitivity.py for the same folders")
    args = ap.parse_args()
    sensitivity = [json.loads(line) for line in open(args.sensitivity)] if args.sensitivity else []
    folders = [json.loads(line) for line in sys.stdin if line.strip()]
    names = []
    for folder in folders:
        names += [g["name"] for g in folder["groups"] if g["name"] not in names]
    heads, facts = [], []
    for i, folder in enumerate(folders):
        manifest = json.load(open(os.path.join(folder["folder"], "manifest.json"), encoding="utf-8"))
        made = manifest["args"]
        letter = chr(ord("A") + i)
        heads.append(letter)
        groups = folder["groups"]
        passed = sum(g["passes"] for g in groups)
        count = sum(len(g["checks"]) for g in groups)
        facts.append(f"| {letter} | {made['seed']} | v{made['version']} | {made['steps']} | `{made['gelu']}` | "
                     f"{count} | {passed} of {len(groups)} |")
        libraries = f"torch {manifest['torch']}, diffusers {manifest['diffusers']}, transformers {manifest['transformers']}"
    print("# Next to the reference implementations\n")
    print("Written by `trefoil verify --json DIR... | python reference/verify_table.py --sensitivity FILE`. Each folder holds a tiny model with random "
          "weights in both published layouts, and what diffusers, transformers and an independent double-precision reference "
          f"compute with it ({libraries}); `reference/unidiffuser_oracle.py` makes one for any seed, version, number of steps "
          "and activation of the caption decoder. Random numbers are replayed.\n")
    print("| folder | seed | version | steps | activation | comparisons | groups that pass |\n|---|---|---|---|---|---|---|")
    print("\n".join(facts))
    print("\nLargest difference of each group, relative to the largest magnitude of the tensor; absolute for `image_side`, whose "
          "resampled pixels are whole numbers (two levels are allowed).\n")
    print("| group | allowed | " + " | ".join(heads) + " |\n|---|---|" + "---|" * len(heads))
    for name in names:
        row, allowed = [], set()
        for folder in folders:
            group = next((g for g in folder["groups"] if g["name"] == name), None)
            if group is None:
                row.append("")
                continue
            kind = "absolute" if name == "image_side" else "relative"
            row.append(number(group[kind]) + ("" if group["passes"] else " **fails**"))
            for check in group["checks"]:
                tolerance = check["tolerance"]
                allowed.add(number(tolerance["relative"]) if isinstance(tolerance, dict) and "relative" in tolerance else "")
        limits = ", ".join(sorted((a for a in allowed if a), key=float)) or "identical"
        print(f"| `{name}` | {limits} | " + " | ".join(row) + " |")
    print("\nNames, tokens, beams and captions of every group are compared too, and must be identical.")
    whole_runs(folders, heads, sensitivity)


if __name__ == "__main__":
    main()
