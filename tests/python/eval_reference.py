"""Reference numbers for tests/eval/reference.rs: reads one JSON object from standard input, writes one.

Needs numpy, scipy and scikit-learn. Precision, recall, density and coverage follow Naeem et al. (ICML 2020)
with scikit-learn's nearest neighbours.
"""

import json
import sys

import numpy as np
from scipy.stats import ks_2samp, wasserstein_distance
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.metrics import pairwise_distances, roc_auc_score
from sklearn.neighbors import NearestNeighbors


def prdc(real, fake, k):
    def radii(x):
        return NearestNeighbors(n_neighbors=k + 1).fit(x).kneighbors(x)[0][:, k]

    d = pairwise_distances(real, fake)
    real_r, fake_r = radii(real), radii(fake)
    inside = d < real_r[:, None]
    return {
        "precision": inside.any(axis=0).mean(),
        "recall": (d < fake_r[None]).any(axis=1).mean(),
        "density": inside.sum() / (k * fake.shape[0]),
        "coverage": (d.min(axis=1) < real_r).mean(),
    }


def cross_validated(make, rows, labels, folds):
    scores = np.zeros(len(labels))
    for fold in np.unique(folds):
        test = folds == fold
        scores[test] = make().fit(rows[~test], labels[~test]).predict_proba(rows[test])[:, 1]
    return roc_auc_score(labels, scores)


def column(x, y):
    return {
        "ks": ks_2samp(x, y).statistic,
        "w1": wasserstein_distance(x, y),
        "auc": roc_auc_score(np.r_[np.ones(len(x)), np.zeros(len(y))], np.r_[x, y]),
        "percentiles": np.percentile(x, [5, 25, 50, 75, 95]).tolist(),
    }


def main():
    given = json.load(sys.stdin)
    real, fake = np.array(given["real"]), np.array(given["fake"])
    rows, labels, folds = np.vstack([real, fake]), np.r_[np.zeros(len(real)), np.ones(len(fake))], np.array(given["folds"])
    forest = [
        cross_validated(
            lambda: RandomForestClassifier(given["trees"], min_samples_leaf=given["min_leaf"], random_state=s, n_jobs=2),
            rows, labels, folds,
        )
        for s in range(3)
    ]
    boost = cross_validated(
        lambda: GradientBoostingClassifier(n_estimators=200, max_depth=3, learning_rate=0.1, min_samples_leaf=5),
        rows, labels, folds,
    )
    json.dump(
        {
            "columns": [column(real[:, k], fake[:, k]) for k in given["columns"]],
            "forest": float(np.mean(forest)),
            "boost": boost,
            **prdc(real, fake, given["k"]),
        },
        sys.stdout,
    )


main()
