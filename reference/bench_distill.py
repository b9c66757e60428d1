"""Writes docs/results/uni-instruct-speed.md: training a teacher of pictures and distilling it, beside the same networks
and losses in PyTorch, in one run; what each method costs; and how fast a one-step student draws.

    cargo build --release
    python reference/bench_distill.py --teacher models/edm-openmoji-16 --data data/openmoji -o docs/results/uni-instruct-speed.md

`--parts` runs some of the parts, and keeps what the others found in the file named by `--state`. The program's own log
(`samples_per_second` of metrics.jsonl) gives its times.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import torch
import torch.nn.functional as F

import bench_edm
import edm_torch
from bench_edm import Single

HERE = pathlib.Path(__file__).resolve().parent
RECIPES = HERE.parent / "configs/uni-instruct"
# Forms of the gradient, and the method that stands for each.
FORMS = {"integral": "diff-instruct", "expanded": "sid-1.0", "adversarial": "sida"}


def network(a):
    net = edm_torch.Net("ddpm++", a.side, a.width, a.mult, a.blocks, a.attn, labels=0, augment=0)
    net.w, net.filter = Single(), net.filter.float()
    return net


def denoise(net, x, sigma):
    s, total = sigma[:, None, None, None], (sigma**2 + 0.25).sqrt()[:, None, None, None]
    raw, encoded = net(x / total, sigma.log() / 4, None, None)
    return 0.25 / total**2 * x + s * 0.5 / total * raw, encoded


def trained(net, on):
    for w in net.w.values():
        w.requires_grad_(on)


def step(optimizer, loss):
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 10.0)
    optimizer.step()


def iteration(nets, optimizers, head, shape, form):
    teacher, fake, student = nets
    start = torch.full((shape[0],), 2.5)
    inner = lambda a, b: (a * b).flatten(1).sum(1)
    logits = lambda encoded: head(encoded.flatten(2).transpose(1, 2)).squeeze(2)

    with torch.no_grad():
        clean, _ = denoise(student, 2.5 * torch.randn(shape), start)
    sigma = (torch.randn(shape[0]) * 1.2 - 1.2).exp()
    noise = sigma[:, None, None, None] * torch.randn(shape)
    found, encoded = denoise(fake, clean + noise, sigma)
    weight = (sigma**2 + 0.25) / (0.5 * sigma) ** 2
    loss = (((found - clean) ** 2).flatten(1).mean(1) * weight).mean()
    if form == "adversarial":
        true = logits(denoise(fake, torch.randn(shape) * 0.5 + noise, sigma)[1])
        loss = loss + (F.softplus(-true).mean() + F.softplus(logits(encoded)).mean()) / 2
    step(optimizers[0], loss)

    trained(fake, False)
    x0, _ = denoise(student, 2.5 * torch.randn(shape), start)
    sigma = (torch.rand(shape[0]) * 6 - 4).exp()
    x = x0 + sigma[:, None, None, None] * torch.randn(shape)
    seen = x.detach() if form == "integral" else x
    q, p_encoded = denoise(teacher, seen, sigma)[0], denoise(fake, seen, sigma)
    p, encoded = p_encoded
    c = 1 / (x0 - q).abs().flatten(1).mean(1).detach()
    if form == "integral":
        score = inner((p - q).detach(), x0)
    else:
        score = inner(q - p, p - x0) - 0.2 * inner(q - p, q - p)
    loss = (c * score).mean()
    if form == "adversarial":
        loss = loss + 0.001 * (c[:, None] * x0[0].numel() * F.softplus(-logits(encoded))).mean()
    step(optimizers[1], loss)
    trained(fake, True)


def torch_times(a, rounds):
    """Seconds of each iteration by form."""
    torch.set_num_threads(a.threads)
    torch.set_default_dtype(torch.float32)
    shape = (a.batch, 3, a.side, a.side)
    nets = [network(a) for _ in range(3)]
    for net in nets:
        denoise(net, torch.randn(shape), torch.ones(a.batch))
    trained(nets[0], False)
    wide = a.width * a.mult[-1]
    head = torch.nn.Sequential(torch.nn.Linear(wide, wide), torch.nn.SiLU(), torch.nn.Linear(wide, 1))
    parameters = [list(nets[1].w.values()) + list(head.parameters()), list(nets[2].w.values())]
    optimizers = [torch.optim.Adam([w for w in of if w.requires_grad], lr=1e-5, betas=(0.0, 0.999)) for of in parameters]
    found = {}
    for form in FORMS:
        found[form] = []
        for _ in range(rounds + 1):
            clock = time.perf_counter()
            iteration(nets, optimizers, head, shape, form)
            found[form].append(time.perf_counter() - clock)
        found[form] = found[form][1:]
    return found


def run(a, *command):
    print("+ trefoil", *command, file=sys.stderr, flush=True)
    environment = os.environ | {"RAYON_NUM_THREADS": str(a.threads)}
    return subprocess.run([a.trefoil, *map(str, command)], check=True, capture_output=True, text=True, env=environment)


def logged(a, command, batch, rounds, *more):
    """Seconds of each update of a run, from its log; the first line is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"train.duration": batch * (rounds + 2), "train.log_every": batch, "train.sample_every": 0,
                    "train.checkpoint_every": batch * (rounds + 2), **dict(more)}
        sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        run(a, *command, "--run", f"{folder}/run", "--no-progress", *sets)
        lines = [json.loads(line) for line in open(f"{folder}/run/metrics.jsonl")]
    turns = [batch / line["samples_per_second"] for line in lines if line["step"] > 0]
    return turns[1:-1]


def distil(a, method, rounds):
    command = ["distill", "--config", RECIPES / f"pictures/{method}.toml"]
    return logged(a, command, a.batch, rounds, ("problem.teacher", json.dumps(str(a.teacher))),
                  ("problem.data", json.dumps([str(a.data)])), ("problem.measured", 8), ("train.warm_up", 0))


def spread(times):
    return dict(median=statistics.median(times), low=min(times), high=max(times))


def drawn(a, *more):
    """Seconds for a picture, loading not counted: the difference of two counts."""
    times = []
    for count in (a.count // 4, a.count):
        with tempfile.TemporaryDirectory() as folder:
            clock = time.perf_counter()
            run(a, *[str(part).format(count=count, folder=folder) for part in more])
            times.append(time.perf_counter() - clock)
    return (times[1] - times[0]) / (a.count - a.count // 4)


def measure(a, state):
    parts = a.parts.split(",")
    state.update(threads=a.threads, torch=torch.__version__, machine=platform.machine(), batch=a.batch)
    if "teacher" in parts:
        count, times = bench_edm.measure(argparse.Namespace(**vars(a), family="ddpm++"))
        command = ["train", "edm", "--config", RECIPES / "edm-openmoji-16-small.toml", "--data", a.data]
        state["teacher"] = dict(parameters=count, torch=spread(times), ours=spread(logged(a, command, a.batch, a.rounds)))
    if "iteration" in parts:
        theirs = torch_times(a, a.rounds)
        state["iteration"] = {form: dict(torch=spread(theirs[form]), ours=spread(distil(a, method, a.rounds)))
                              for form, method in FORMS.items()}
    if "methods" in parts:
        methods = sorted(path.stem for path in RECIPES.glob("pictures/*.toml"))
        state["methods"] = {method: spread(distil(a, method, a.rounds)) for method in methods}
    if "sampling" in parts:
        sample = ["sample", "edm", a.teacher, "-n", "{count}", "--seed", 1, "-o", "{folder}", "--no-progress"]
        state["sampling"] = {f"teacher, {n} Heun steps": drawn(a, *sample, "--steps", n) for n in (5, 18)}
        if a.student:
            sample[2] = a.student
            state["sampling"]["one-step student"] = drawn(a, *sample)
    if "unidiffuser" in parts:
        generate = ["generate", "a red apple", "-n", "{count}", "--seed", 1, "-o", "{folder}/a.png", "--no-progress",
                    "--batch", 16]
        state["unidiffuser"] = {"50 steps": drawn(a, *generate, "--steps", 50),
                                "recommended steps": drawn(a, *generate),
                                "one step": drawn(a, *generate, "--one-step")}


def page(state):
    per_thousand = lambda found: f"{1000 * found['median'] / state['batch']:.2f}"
    bounds = lambda found: f"{1000 * found['low'] / state['batch']:.2f} to {1000 * found['high'] / state['batch']:.2f}"
    out = [f"""# Uni-Instruct: time of training and drawing

Written by `python reference/bench_distill.py`: {state['threads']} threads ({state['machine']}), single precision, PyTorch
{state['torch']}, batches of {state['batch']}. The networks are those of the shipped teacher
([recipe](../../configs/uni-instruct/edm-openmoji-16-small.toml)): DDPM++ at 16x16, {state['teacher']['parameters']:,} parameters.
Seconds per 1,000 pictures: the median of the iterations, and the fastest to the slowest. Ours writes its log and averages
the weights as well. *Ratio* is ours divided by PyTorch's: below 1 is faster.

| | ours | from to | PyTorch | from to | ratio |
| --- | ---: | ---: | ---: | ---: | ---: |"""]
    rows = {"training the teacher": state["teacher"]}
    names = {"integral": "distilling, integral form (Diff-Instruct)", "expanded": "distilling, expanded form (SiD)",
             "adversarial": "distilling, expanded form and adversarial term (SiDA)"}
    rows |= {names[form]: found for form, found in state["iteration"].items()}
    for name, found in rows.items():
        ours, theirs = found["ours"], found["torch"]
        out.append(f"| {name} | {per_thousand(ours)} | {bounds(ours)} | {per_thousand(theirs)} | {bounds(theirs)} "
                   f"| {ours['median'] / theirs['median']:.2f} |")
    if "methods" in state:
        out.append("\n## Methods\n\nAn iteration of ours: one update of the fake score and, where there is one, the "
                   "discriminator, and one of the student.\n\n| method | seconds per 1,000 pictures | from to | of Diff-Instruct |"
                   "\n| --- | ---: | ---: | ---: |")
        base = state["methods"]["diff-instruct"]["median"]
        out += [f"| {name} | {per_thousand(found)} | {bounds(found)} | {found['median'] / base:.2f} |"
                for name, found in state["methods"].items()]
    for key, title, what in [("sampling", "Drawing 16x16 pictures", "teacher, 18 Heun steps"),
                             ("unidiffuser", "Text to image with the shipped model", "50 steps")]:
        if key in state:
            out.append(f"\n## {title}\n\nLoading is not counted.\n\n| | pictures per second | times as fast as {what} |"
                       "\n| --- | ---: | ---: |")
            out += [f"| {name} | {1 / seconds:.1f} | {state[key][what] / seconds:.1f} |" for name, seconds in state[key].items()]
    return "\n".join(out) + "\n"


def main():
    parser = bench_edm.options()
    parser.set_defaults(width=24, blocks=1, rounds=15)
    parser.description, parser.formatter_class = __doc__, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--trefoil", default="target/release/trefoil")
    parser.add_argument("--teacher", type=pathlib.Path, default="models/edm-openmoji-16")
    parser.add_argument("--student", type=pathlib.Path, help="a one-step student of the teacher")
    parser.add_argument("--data", type=pathlib.Path, default="data/openmoji")
    parser.add_argument("--count", type=int, default=256, help="pictures drawn")
    parser.add_argument("--parts", default="teacher,iteration,methods,sampling,unidiffuser")
    parser.add_argument("--state", help="JSON with what other runs found")
    parser.add_argument("-o", "--output")
    a = parser.parse_args()
    del a.family
    a.teacher, a.data = a.teacher.resolve(), a.data.resolve()
    state = json.load(open(a.state)) if a.state and os.path.exists(a.state) else {}
    measure(a, state)
    if a.state:
        json.dump(state, open(a.state, "w"), indent=1)
    if {"teacher", "iteration"} <= state.keys():
        text = page(state)
        if a.output:
            pathlib.Path(a.output).write_text(text)
        else:
            print(text)


if __name__ == "__main__":
    main()
