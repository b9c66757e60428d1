"""Golden numbers of the UDITSR tests: a tiny log with every awkward case, computed by uditsr_torch.

    python reference/uditsr_oracle.py crates/uditsr/tests/fixtures
"""

import json
import os
import sys

import numpy as np
import torch
from safetensors.torch import save_file

import uditsr_torch as peer

SIZES = (7, 9, 13)
# Users without searches, users and items without edges, a pair twice, an item with more words than
# it has places, queries longer than three words, word 0 as a word.
LOG = [
    (0, [], 0), (1, [], 1), (2, [6], 2), (0, [3, 4], 0), (0, [4, 3, 5, 7], 3), (1, [1], 4), (2, [], 4),
    (3, [2, 2], 4), (3, [], 5), (3, [], 5), (4, [8], 2), (4, [8, 9], 2), (4, [0, 11], 4), (5, [], 6),
    (0, [10], 4), (1, [12, 5, 9], 4), (2, [7, 1], 4), (3, [3, 6], 4), (5, [], 4), (1, [], 6),
]
BATCH = [0, 2, 3, 4, 6, 8, 13, 15]
NEGATIVES = [6, 6, 8, 7, 6, 7, 5, 3]
# User, query, items to be scored.
EVALUATION = [(0, [], [4, 0, 1, 2, 3, 5]), (0, [6, 8], [2, 0, 1, 3, 4, 5]), (6, [], [8, 0, 1, 2, 3, 4])]
VARIANTS = {
    "published": {},
    "mask_padding": {"mask_padding": True},
    "detach_target": {"detach_target": True},
    "requery_each_layer": {"requery_each_layer": True},
    "raw_logit": {"final_leaky": False},
    "translation_dot": {"translation": "dot", "mask_padding": True},
    "translation_distance": {"translation": "distance"},
    "one_layer": {"layers": 1},
    "no_layer": {"layers": 0},
    "three_layers": {"layers": 3},
}


def parameters(config, dtype):
    tables, linear = peer.shapes(config, *SIZES)
    random = np.random.RandomState(11)
    out = {}
    for name, shape in tables.items():
        bound = (6 / sum(shape)) ** 0.5
        out[name] = random.uniform(-bound, bound, size=shape)
    for name, shape in linear.items():
        bound = 1 / shape[1] ** 0.5
        out[name + ".weight"] = random.uniform(-bound, bound, size=shape)
        out[name + ".bias"] = random.uniform(-bound, bound, size=shape[:1])
    if config["translation"]:
        for head in ("search", "recommend"):
            out[f"{head}_score_predictor.translation"] = np.ones(1)
    return {name: torch.nn.Parameter(torch.tensor(value, dtype=dtype)) for name, value in out.items()}


def run(variant, dtype, tensors):
    config = peer.DEFAULTS | {"dim": 8} | VARIANTS[variant]
    log = [dict(user=user, query=query, item=item) for user, query, item in LOG]
    graph = peer.Graph(config, SIZES, log)
    weights = parameters(config, dtype)
    model = peer.Model(config, graph, weights)
    batch = graph.user[BATCH], graph.item[BATCH], torch.tensor(NEGATIVES), graph.search[BATCH], graph.query[BATCH]
    if variant == "published":
        tensors |= {f"initial/{name}": value.detach().clone() for name, value in weights.items()}

    def evaluate():
        nodes = model.propagate()
        scores = []
        for user, query, items in EVALUATION:
            n = len(items)
            rows = torch.full((n,), user), torch.tensor(items), torch.full((n,), bool(query))
            words = torch.tensor([peer.padded(query, config["query_words"])] * n)
            scores.append(model.scores(nodes, *rows, words)[0])
        return nodes, torch.stack(scores).detach().clone()

    nodes, scores = evaluate()
    tensors[f"{variant}/scores"] = scores
    tensors[f"{variant}/users"], tensors[f"{variant}/items"] = (x.detach().clone() for x in nodes)
    optimizer = torch.optim.AdamW(weights.values(), lr=1e-2, weight_decay=1e-2)
    trajectory = []
    for step in range(5):
        losses = model.losses(*batch)
        optimizer.zero_grad()
        sum(losses).backward()
        trajectory.append([float(x.detach()) for x in losses])
        if step == 0:
            for name, value in weights.items():
                tensors[f"{variant}/gradient/{name}"] = value.grad.clone() if value.grad is not None else torch.zeros_like(value)
        optimizer.step()
    if variant in ("published", "translation_dot"):
        tensors |= {f"{variant}/after/{name}": value.detach().clone() for name, value in weights.items()}
    return trajectory


def main():
    folder = sys.argv[1]
    torch.set_num_threads(1)
    report = dict(sizes=SIZES, log=LOG, batch=BATCH, negatives=NEGATIVES, evaluation=EVALUATION, losses={})
    for name, dtype in (("f64", torch.float64), ("f32", torch.float32)):
        tensors = {}
        variants = VARIANTS if name == "f64" else ["published", "translation_dot"]
        report["losses"][name] = {variant: run(variant, dtype, tensors) for variant in variants}
        save_file(tensors, os.path.join(folder, f"tiny_{name}.safetensors"))
    with open(os.path.join(folder, "tiny.json"), "w") as file:
        json.dump(report, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
