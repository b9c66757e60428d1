#!/usr/bin/env python3
"""Makes docs/results/verify.md from the output of `trefoil verify --json`.

    trefoil verify --json DIR... | python reference/verify_table.py > docs/results/verify.md

Each DIR is one that `unidiffuser_oracle.py` (or a copy of it with other sizes) wrote.
"""
import json
import os
import sys


def number(value):
    return "different" if value is None else "0" if value == 0 else f"{value:.0e}".replace("e-0", "e-")


def main():
    folders = [json.loads(line) for line in sys.stdin if line.strip()]
    names = []
    for folder in folders:
        names += [g["name"] for g in folder["groups"] if g["name"] not in names]
    heads, facts = [], []
    for i, folder in enumerate(folders):
        manifest = json.load(open(os.path.join(folder["folder"], "manifest.json"), encoding="utf-8"))
        args = manifest["args"]
        letter = chr(ord("A") + i)
        heads.append(letter)
        groups = folder["groups"]
        passed = sum(g["passes"] for g in groups)
        count = sum(len(g["checks"]) for g in groups)
        facts.append(f"| {letter} | {args['seed']} | v{args['version']} | {args['steps']} | `{args['gelu']}` | "
                     f"{count} | {passed} of {len(groups)} |")
        libraries = f"torch {manifest['torch']}, diffusers {manifest['diffusers']}, transformers {manifest['transformers']}"
    print("# Next to the reference implementations\n")
    print("Written by `trefoil verify --json DIR... | python reference/verify_table.py`. Each folder holds a tiny model with random "
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


if __name__ == "__main__":
    main()
