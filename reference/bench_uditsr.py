"""Writes docs/results/uditsr-speed.md: training steps of the Rust crate beside plain PyTorch, in one run.

    cargo build --release -p uditsr --example speed
    python reference/bench_uditsr.py --prepared DIR -o docs/results/uditsr-speed.md

DIR is a folder that `trefoil prepare` wrote from a real log. Both sides start from the same weights and
take the same batches; the page says how far their losses are apart. `--parts` runs some of the parts, and
keeps what the others found in the file named by `--state`.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
OPTIONS = [
    ("as published: batches of 256", []),
    ("batches of 2048", ["--batch", "2048"]),
    ("intents refreshed every 10 steps", ["--refresh", "10"]),
    ("both", ["--batch", "2048", "--refresh", "10"]),
]


def run(command):
    print("+", *command, file=sys.stderr, flush=True)
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout


def parse(text):
    """Seconds per batch, batches and seconds of an epoch, losses of each step, seconds of each step."""
    mean, batches, epoch = re.search(r"([\d.]+) s per batch; (\d+) batches: ([\d.]+) s per epoch", text).groups()
    steps = re.findall(r"bpr, sg, cst = ([\d.e-]+) ([\d.e-]+) ([\d.e-]+);.* ([\d.]+) s$", text, re.M)
    losses = [[float(x) for x in step[:3]] for step in steps]
    seconds = [float(step[3]) for step in steps][1:]
    memory = re.search(r"([\d.]+) GiB", text)
    return dict(mean=float(mean), batches=int(batches), epoch=float(epoch), losses=losses,
                low=min(seconds), high=max(seconds), memory=memory and memory[1])


def compare(args, extra):
    """One log on both sides, and the options on ours."""
    with tempfile.TemporaryDirectory() as folder:
        ours = [parse(run([args.speed, "--steps", args.steps, *extra, "--write", folder]))]
        torch = parse(run([sys.executable, HERE / "uditsr_torch.py", "--log", f"{folder}/log.json",
                           "--batches", args.torch_batches, "--threads", args.threads]))
    ours += [parse(run([args.speed, "--steps", args.steps, *extra, *option])) for _, option in OPTIONS[1:]]
    pairs = list(zip(ours[0]["losses"], torch["losses"]))
    error = max(abs(a - b) / abs(b) for left, right in pairs for a, b in zip(left, right))
    return dict(ours=ours, torch=torch, error=error, pairs=len(pairs))


def table(found):
    torch = found["torch"]
    lines = ["| | seconds per batch | smallest to largest | batches of an epoch | seconds per epoch | ratio of an epoch |",
             "| --- | ---: | ---: | ---: | ---: | ---: |"]

    def row(name, part):
        ratio = torch["epoch"] / part["epoch"]
        lines.append(f"| {name} | {part['mean']:.4f} | {part['low']:.4f} to {part['high']:.4f} | {part['batches']} "
                     f"| {part['epoch']:.1f} | {ratio:.1f} |")

    row("PyTorch, batches of 256 (epoch extrapolated)", torch)
    for (name, _), part in zip(OPTIONS, found["ours"]):
        row(name, part)
    lines += ["", f"Largest relative difference of the three losses over {found['pairs']} steps of both: {found['error']:.1e}."]
    return "\n".join(lines)


def page(args, state):
    import torch
    parts = [f"""# UDITSR: time of training

Written by `python reference/bench_uditsr.py`: one run, {args.threads} threads ({platform.machine()}), single precision, PyTorch
{torch.__version__}. A batch takes {args.steps} steps of ours and {args.torch_batches} of PyTorch, after one that is not counted;
the epoch is the mean times the number of batches. The peer is [uditsr_torch.py](../../reference/uditsr_torch.py), plain PyTorch
with the operations of the published program: the graph is propagated and the generator runs on every edge at every batch.
*Ratio* is PyTorch's epoch divided by ours. What the options do to accuracy is in [uditsr.md](uditsr.md), under *options of speed*.
"""]
    if "shape" in state:
        parts.append("## The shape of MT-Small\n\nGenerated: 56,887 users, 4,059 items, 5,000 words, 300,000 interactions of which "
                     "half are searches of one to three words; 100 dimensions, two layers.\n\n" + table(state["shape"]) + "\n")
    if "real" in state:
        parts.append(f"## A real log\n\n{state['name']}; 100 dimensions.\n\n" + table(state["real"]) + "\n")
    if "scaling" in state:
        parts.append("## How it grows\n\nA user for every five interactions, an item for every twenty up to 40,000, 20,000 words, "
                     "32 dimensions, batches of 8192; nothing is approximated.\n\n" + state["scaling"])
    return "\n".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speed", default="target/release/examples/speed", help="the built example")
    parser.add_argument("--prepared", help="a prepared real log")
    parser.add_argument("--name", default="Last.fm (HetRec 2011): listening and tags")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--torch-batches", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--parts", default="shape,real,scaling")
    parser.add_argument("--state", help="JSON with what other runs found")
    parser.add_argument("-o", "--output")
    args = parser.parse_args()
    state = {}
    if args.state and os.path.exists(args.state):
        state = json.load(open(args.state))
    parts = [part for part in args.parts.split(",") if part]
    if "shape" in parts:
        state["shape"] = compare(args, [])
    if "real" in parts and args.prepared:
        info = json.load(open(pathlib.Path(args.prepared) / "prepare.json"))
        state["name"] = f"{args.name}: {info['users']:,} users, {info['items']:,} items, {info['words']:,} words"
        state["real"] = compare(args, ["--prepared", args.prepared])
    if "scaling" in parts:
        state["scaling"] = run([args.speed, "--scaling", "100000,300000,1000000,3000000,10000000", "--batch", 8192,
                                "--dim", 32, "--steps", 8])
    if args.state:
        json.dump(state, open(args.state, "w"))
    text = page(args, state)
    if args.output:
        partial = args.output + ".partial"
        open(partial, "w").write(text)
        os.replace(partial, args.output)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
