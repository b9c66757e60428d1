"""Golden numbers of the ranking metrics, by scikit-learn where it has them.

    python reference/ranking.py crates/trefoil-eval/tests/reference_data/ranking.json
"""

import json
import sys

import numpy as np
from sklearn.metrics import ndcg_score, roc_auc_score

random = np.random.RandomState(5)
groups = []
for group in range(40):
    # Few distinct scores, so that there are ties; the positive comes first.
    scores = (random.randint(0, 60, size=20) / 64.0).tolist()
    groups.append(dict(user=int(random.randint(7)), scores=scores))

labels = [1] + [0] * 19
# Ties against the positive: the smallest of its equals.
worst = [np.array(g["scores"]) - 1e-9 * np.array(labels) for g in groups]
expected = dict(
    auc=np.mean([roc_auc_score(labels, g["scores"]) for g in groups]),
    gauc=np.mean([
        roc_auc_score(labels * len(own), np.concatenate([g["scores"] for g in own]))
        for user in sorted({g["user"] for g in groups})
        for own in [[g for g in groups if g["user"] == user]]
    ]),
    ndcg5=np.mean([ndcg_score([labels], [s], k=5) for s in worst]),
    expected_ndcg5=np.mean([ndcg_score([labels], [g["scores"]], k=5) for g in groups]),
    hit5=np.mean([np.argsort(-s)[:5].tolist().count(0) for s in worst]),
    mrr=np.mean([1 / (np.argsort(-s).tolist().index(0) + 1) for s in worst]),
    average_position=np.mean([np.argsort(-s).tolist().index(0) for s in worst]),
)
json.dump(dict(groups=groups, expected=expected), open(sys.argv[1], "w"))
