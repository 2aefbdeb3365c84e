"""Train a classifier of handwritten digits and say how good it is.

Here: choosing among the candidates by cross-validation, the model, the report.
Not here: the candidates themselves (candidates.json), the image it runs in (../build_image.py).
Keeps: every draw is seeded and there is one thread, so two runs choose, and report, the same; digits that
are tested on were never seen in training.

Runs in the container: reads /input, writes /output/model.joblib and /output/report.json.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
from pathlib import Path

import joblib
import sklearn
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, confusion_matrix
from sklearn.model_selection import StratifiedKFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC

SEED = 7
FOLDS = 5
TEST_PART = 0.25


def make_model(candidate: dict[str, float]) -> object:
    """An untrained model."""
    return make_pipeline(MinMaxScaler(), SVC(C=candidate["C"], gamma=candidate["gamma"]))


def candidates(path: Path) -> list[dict[str, float]]:
    """Every combination of the values in the file."""
    lists = json.loads(path.read_text())
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


def main(source: Path, target: Path) -> None:
    """Choose, train, test, write."""
    digits = load_digits()
    train, test, train_labels, test_labels = train_test_split(
        digits.data, digits.target, test_size=TEST_PART, stratify=digits.target, random_state=SEED
    )
    print(f"scikit-learn {sklearn.__version__}: {len(train)} digits to train on, {len(test)} to test with")
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    tried = []
    choices = candidates(source / "candidates.json")
    for number, candidate in enumerate(choices, 1):
        scores = cross_val_score(make_model(candidate), train, train_labels, cv=folds)
        tried.append({**candidate, "accuracy": round(float(scores.mean()), 4)})
        print(f"C {candidate['C']}, gamma {candidate['gamma']}: {scores.mean():.4f}")
        print(f"EUB_PROGRESS {number}/{len(choices) + 1}", flush=True)
    best = max(range(len(choices)), key=lambda index: tried[index]["accuracy"])
    model = make_model(choices[best])
    model.fit(train, train_labels)
    answers = model.predict(test)
    report = {
        "accuracy": round(float(accuracy_score(test_labels, answers)), 4),
        "tested": len(test),
        "chosen": choices[best],
        "tried": tried,
        "confusion": confusion_matrix(test_labels, answers).tolist(),
        "labels": digits.target_names.tolist(),
        "scikit-learn": sklearn.__version__,
    }
    joblib.dump(model, target / "model.joblib")
    # A row of the table on one line, for people.
    text = re.sub(r"\[[\d,\s]+\]", lambda row: " ".join(row[0].split()), json.dumps(report, indent=2))
    (target / "report.json").write_text(text + "\n")
    print(f"accuracy on digits never seen: {report['accuracy']:.4f}")
    for label, row in enumerate(report["confusion"]):
        print(f"  {label}: " + " ".join(f"{count:3d}" for count in row))
    print(f"EUB_PROGRESS {len(choices) + 1}/{len(choices) + 1}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
