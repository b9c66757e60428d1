"""UDITSR in plain PyTorch: the peer of the Rust crate for numbers and for speed.

The whole graph is propagated for every batch and the generator runs on every edge, as in the
published program; there is no graph library. Import it, or run it to time training:

    python reference/uditsr_torch.py --log LOG.json --threads 2
"""

import argparse
import json
import math
import time

import torch
from torch.nn import functional as F

DEFAULTS = dict(
    dim=100, layers=2, query_words=3, user_words=3, item_words=10, sg_lambda=1.5, cst_lambda=0.2,
    mask_padding=False, detach_target=False, requery_each_layer=False, final_leaky=True, translation=None,
)


def shapes(config, users, items, words):
    """Names and sizes of the published weights."""
    d = config["dim"]
    linear = {
        "demand_mlp.0": (2 * d, 4 * d),
        "demand_mlp.3": (2 * d, 2 * d),
        "demand_mlp.6": (d, 2 * d),
        "item_query_attn.linear": (d, d),
        "linear_K": (d, (1 + config["user_words"]) * d),
    }
    for head in ("search", "recommend"):
        sizes = [3 * d, 3 * d // 2, 3 * d // 4, 1]
        for layer in range(3):
            linear[f"{head}_score_predictor.{2 * layer}"] = (sizes[layer + 1], sizes[layer])
    tables = {
        "query_embedding.weight": (words, d),
        "embedding_dict.user_emb": (users, d),
        "embedding_dict.item_emb": (items, d),
    }
    return tables, linear


def init(config, sizes, seed, dtype=torch.float32):
    """Random parameters by the published law."""
    tables, linear = shapes(config, *sizes)
    generator = torch.Generator().manual_seed(seed)
    uniform = lambda shape, bound: (torch.rand(shape, generator=generator, dtype=dtype) * 2 - 1) * bound
    out = {name: uniform(shape, math.sqrt(6 / sum(shape))) for name, shape in tables.items()}
    for name, shape in linear.items():
        out[name + ".weight"] = uniform(shape, 1 / math.sqrt(shape[1]))
        out[name + ".bias"] = uniform(shape[:1], 1 / math.sqrt(shape[1]))
    if config["translation"]:
        for head in ("search", "recommend"):
            out[f"{head}_score_predictor.translation"] = torch.ones(1, dtype=dtype)
    return out


def padded(words, width):
    return (list(words) + [0] * width)[:width]


def top_words(count, log, column, width):
    """Most frequent words of the queries of each node; of equals the first used."""
    counts = [{} for _ in range(count)]
    for row in log:
        for word in row["query"]:
            seen = counts[row[column]]
            seen[word] = seen.get(word, 0) + 1
    ranked = [sorted(c, key=lambda word: -c[word]) for c in counts]
    return torch.tensor([padded(words, width) for words in ranked])


class Graph:
    """One edge for each row of the log."""

    def __init__(self, config, sizes, log):
        self.users, self.items, _ = sizes
        self.user = torch.tensor([row["user"] for row in log])
        self.item = torch.tensor([row["item"] for row in log])
        self.search = torch.tensor([bool(row["query"]) for row in log])
        self.query = torch.tensor([padded(row["query"], config["query_words"]) for row in log])
        self.user_words = top_words(self.users, log, "user", config["user_words"])
        self.item_words = top_words(self.items, log, "item", config["item_words"])
        self.user_degree = torch.bincount(self.user, minlength=self.users).clamp(min=1)[:, None]
        self.item_degree = torch.bincount(self.item, minlength=self.items).clamp(min=1)[:, None]


class Model:
    """The equations over a dictionary of parameters."""

    def __init__(self, config, graph, parameters):
        self.config = DEFAULTS | config
        self.graph, self.parameters = graph, parameters

    def layer(self, name, x):
        return F.linear(x, self.parameters[name + ".weight"], self.parameters[name + ".bias"])

    def words(self, ids):
        vectors = self.parameters["query_embedding.weight"][ids]
        return vectors * (ids != 0)[..., None] if self.config["mask_padding"] else vectors

    def demand(self, users, items, user_table, item_table):
        """The generator for pairs of a user and an item."""
        e_u, e_i = user_table[users], item_table[items]
        of_user = self.words(self.graph.user_words[users])
        ids = self.graph.item_words[items]
        of_item = self.words(ids)
        key = self.layer("linear_K", torch.cat([e_u, of_user.flatten(1)], 1))
        logits = torch.einsum("nd,ntd->nt", key, self.layer("item_query_attn.linear", of_item))
        if self.config["mask_padding"]:
            known = ids != 0
            attention = torch.softmax(logits.masked_fill(~known, -1e30), 1) * known
        else:
            attention = torch.softmax(logits, 1)
        context = torch.einsum("nt,ntd->nd", attention, of_item)
        hidden = torch.tanh(self.layer("demand_mlp.0", torch.cat([e_u, e_i, of_user.sum(1), context], 1)))
        return self.layer("demand_mlp.6", torch.tanh(self.layer("demand_mlp.3", hidden)))

    def edge_demand(self, user_table, item_table):
        g = self.graph
        generated = self.demand(g.user, g.item, user_table, item_table)
        return torch.where(g.search[:, None], self.words(g.query).sum(1), generated)

    def propagate(self):
        """Vectors of all users and items."""
        g = self.graph
        users = self.parameters["embedding_dict.user_emb"]
        items = self.parameters["embedding_dict.item_emb"]
        total = [users, items]
        demand = self.edge_demand(users, items) if self.config["layers"] else None
        for layer in range(1, self.config["layers"] + 1):
            if self.config["requery_each_layer"] and layer > 1:
                demand = self.edge_demand(users, items)
            to_items = torch.zeros_like(items).index_add(0, g.item, users[g.user] + demand)
            to_users = torch.zeros_like(users).index_add(0, g.user, items[g.item] - demand)
            users, items = to_users / g.user_degree, to_items / g.item_degree
            total = [total[0] + users / (layer + 1), total[1] + items / (layer + 1)]
        return total

    def head(self, name, u, i, q):
        x = torch.cat([u, i, q], 1)
        for index in (0, 2, 4):
            x = self.layer(f"{name}_score_predictor.{index}", x)
            if index < 4 or self.config["final_leaky"]:
                x = F.leaky_relu(x, 0.01)
        score = x[:, 0]
        if self.config["translation"]:
            target = u + q
            term = {"dot": (target * i).sum(1), "distance": -((target - i) ** 2).sum(1)}
            weight = self.parameters[f"{name}_score_predictor.translation"]
            score = score + weight * term[self.config["translation"]]
        return score

    def scores(self, nodes, users, items, search, query):
        """Scores of rows."""
        tables = [self.parameters["embedding_dict.user_emb"], self.parameters["embedding_dict.item_emb"]]
        real = self.words(query).sum(1)
        generated = self.demand(users, items, *tables)
        u, i = nodes[0][users], nodes[1][items]
        score = torch.where(search, self.head("search", u, i, real), self.head("recommend", u, i, generated))
        return score, u, i, real, generated

    def losses(self, users, items, negatives, search, query):
        """The three losses of a batch."""
        nodes = self.propagate()
        c = self.config
        score, u, i, real, generated = self.scores(nodes, users, items, search, query)
        score_negative, _, n, _, _ = self.scores(nodes, users, negatives, search, query)
        bpr = -F.logsigmoid(score - score_negative).mean()
        target = real.detach() if c["detach_target"] else real
        sg = (c["sg_lambda"] * search * ((generated - target) ** 2).mean(1)).mean()
        q = torch.where(search[:, None], real, generated)
        near, far = ((u + q - i) ** 2).mean(1), ((u + q - n) ** 2).mean(1)
        cst = -(c["cst_lambda"] * F.logsigmoid(far - near)).mean()
        return bpr, sg, cst


def main():
    parser = argparse.ArgumentParser(description="Seconds per batch and per epoch of training")
    parser.add_argument("--log", required=True, help="JSON with users, items, words, rows and batches")
    parser.add_argument("--batches", type=int, default=3, help="batches that are timed")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data = json.load(open(args.log))
    sizes = data["users"], data["items"], data["words"]
    rows = [dict(zip(("user", "item", "query"), row)) for row in data["rows"]]
    config = DEFAULTS | data["config"]
    graph = Graph(config, sizes, rows)
    weights = init(config, sizes, 0)
    if "parameters" in data:
        from safetensors.torch import load_file
        weights = load_file(data["parameters"])
    parameters = {name: torch.nn.Parameter(value) for name, value in weights.items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=data["lr"], weight_decay=data["weight_decay"])
    model = Model(config, graph, parameters)
    seconds = []
    for step, batch in enumerate(data["batches"][: args.batches + 1]):
        start = time.perf_counter()
        edges, negatives = torch.tensor(batch["rows"]), torch.tensor(batch["negatives"])
        losses = model.losses(graph.user[edges], graph.item[edges], negatives, graph.search[edges], graph.query[edges])
        optimizer.zero_grad()
        sum(losses).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
        values = " ".join(f"{float(x.detach()):.7f}" for x in losses)
        print(f"step {step + 1}: bpr, sg, cst = {values}; {seconds[-1]:.3f} s", flush=True)
    # The first step also pays for memory and threads.
    mean = sum(seconds[1:]) / max(len(seconds) - 1, 1)
    batches = math.ceil(len(rows) / len(data["batches"][0]["rows"]))
    print(f"{mean:.3f} s per batch; {batches} batches: {mean * batches:.0f} s per epoch (extrapolated)")


if __name__ == "__main__":
    main()
