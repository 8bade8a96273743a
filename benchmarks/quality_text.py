"""What pretraining on text is worth: methods x seeds on real articles, beside TF-IDF and the untrained encoder.

    python benchmarks/quality_text.py                                        # all methods, three seeds, 2,000 steps
    python benchmarks/quality_text.py --methods mlm gpt --seeds 0 --steps 100 --samples 2000

Every method is its pipeline file, on a small encoder; nothing is chosen by test labels. A result is kept in
runs/quality-text/results.jsonl when it is there, so that an interrupted run goes on where it was; changed settings are
measured anew. The page docs/results/text.md is written from all results after each of them.
"""

import argparse
import hashlib
import json
import math
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "runs" / "quality-text" / "results.jsonl", ROOT / "docs" / "results" / "text.md"
METHODS = ["mlm", "electra", "nsp", "gpt", "simcse", "tsdae", "moco", "byol"]
CORPUS = "bbc-news"
BATCH, RATE = 64, 1e-3  # of every method: the pipelines' own are for encoders of twelve layers
PROBES: dict[str, dict[str, Any]] = {"linear": {}, "knn": {}}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--shape", default="tiny", help="of the encoder")
    parser.add_argument("--samples", type=int, default=60_000, help="rows that probes are fitted and tested on at most")
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    done = {(r["method"], r["seed"], r["settings"]) for r in results()}
    for seed in asked.seeds:
        for method in asked.methods:
            one = recipe(method, seed, asked)
            key = (method, seed, fingerprint(one, asked.samples))
            if key not in done:
                result = {"method": method, "seed": seed, "settings": key[2], **measured(one, asked.samples)}
                RESULTS.parent.mkdir(parents=True, exist_ok=True)
                with RESULTS.open("a") as file:
                    file.write(json.dumps(result) + "\n")
                print(f"{method} {seed}: {result['probes']} in {result['seconds']:.0f} s", flush=True)
            write()


def recipe(method: str, seed: int, asked: argparse.Namespace) -> Any:
    """The method's pipeline on the corpus, with a small encoder."""
    from selfray import recipe as recipes

    plain = recipes.load(f"text/{method}").plain()
    plain |= {"seed": seed, "corpus": {"fetch": CORPUS}}
    pretrain = plain["pretrain"]
    pretrain["encoder"] |= {"shape": asked.shape, "pooling": "mean"}
    pretrain["optimizer"] |= {"lr": RATE}
    if "layers" in pretrain["objective"] and method == "tsdae":
        pretrain["objective"]["layers"] = 2
    pretrain |= {"batch": BATCH, "steps": asked.steps, "epochs": None, "warmup": 0.1, "gpu": False, "workers": 0}
    pretrain |= {"threads": asked.threads, "compile": False, "log_every": 20, "health_every": 10**6}
    return recipes.parse(plain)


def fingerprint(one: Any, samples: int) -> str:
    """A number for everything that changes a result."""
    plain = one.plain()
    kept = {key: plain["pretrain"][key] for key in ("objective", "encoder", "views", "optimizer", "batch", "steps")}
    return hashlib.sha256(json.dumps([kept, samples], sort_keys=True).encode()).hexdigest()[:12]


def measured(one: Any, samples: int) -> dict[str, Any]:
    """Accuracies of one run, and perplexities on held-out rows where the objective predicts words."""
    from selfray.corpus import catalogue
    from selfray.corpus.manifest import Manifest
    from selfray.evaluation.compare import compare
    from selfray.summary import _trained
    from selfray.train import build
    from selfray.train.loop import Job, train

    corpus = catalogue.fetch(one.corpus.fetch)
    manifest = Manifest.read(corpus)
    untrained = build.objective(one.pretrain, manifest, one.seed).eval()
    losses: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        train(Job(one, str(corpus), folder), lambda row: losses.append(row["train/loss"]))
        seconds = time.perf_counter() - begun
        trained = _trained(Path(folder), one, manifest).eval()
        views = build.views(one.pretrain, manifest.facts)
        found = compare(trained.encoder, untrained.encoder, views, corpus, PROBES, Path(folder) / "eval", samples)
    probes = {
        row["probe"]: {kind: round(row[kind], 4) for kind in ("pretrained", "untrained", "raw")}
        for row in found["probes"]
    }
    words = {
        "pretrained": perplexity(trained, views, corpus),
        "untrained": perplexity(untrained, views, corpus),
        "unigram": unigram(corpus, manifest.facts),
    }
    made = {
        "probes": probes,
        "perplexity": words,
        "seconds": round(seconds, 1),
        "steps": one.pretrain.steps,
        "samples": samples,
    }
    return made | {"loss": [round(losses[0], 4), round(losses[-1], 4)], "shape": one.pretrain.encoder["shape"]}


def perplexity(objective: Any, views: Any, corpus: Path, rows: int = 512) -> float | None:
    """Of the words that the objective predicts on held-out rows, with masks of a fixed seed."""
    import torch

    from selfray.evaluation.features import load
    from selfray.train.build import asks_for_ids
    from selfray.views.random import sample_keys

    test = load(corpus, "test", rows)
    found = []
    with torch.inference_mode():
        for at in range(0, len(test.ids), 64):
            ids = torch.from_numpy(test.ids[at : at + 64])
            keys = sample_keys(ids, 0, 0)
            seen = views.make(objective.views, torch.tensor(test.data[at : at + 64]), keys)
            _, scalars = objective(seen | ({"ids": ids} if asks_for_ids(objective) else {}))
            if "perplexity" not in scalars:
                return None
            found.append(float(scalars["perplexity"].log()))
    return round(math.exp(mean(found)), 1)


def unigram(corpus: Path, facts: dict[str, Any]) -> float:
    """Perplexity of held-out words by how frequent they are in the training split, each counted once more."""
    import numpy as np

    from selfray.evaluation.features import load

    train, test = (load(corpus, split, 10**6).data for split in ("train", "test"))
    counts = np.bincount(train[train != facts["pad"]].astype(np.int64), minlength=facts["vocabulary"]) + 1.0
    logs = np.log(counts / counts.sum())
    return round(float(np.exp(-logs[test[test != facts["pad"]].astype(np.int64)].mean())), 1)


def results() -> list[dict[str, Any]]:
    """All results so far; of one method and seed the newest."""
    lines = RESULTS.read_text().splitlines() if RESULTS.is_file() else []
    return list({(r["method"], r["seed"]): r for r in map(json.loads, lines)}.values())


def write() -> None:
    """The page of all results."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for result in results():
        rows[result["method"]].append(result)
    lines = [
        "# Quality: text",
        "",
        "Test accuracy of the topic of rows of up to 128 tokens of BBC News, in per cent: the mean over seeds and its",
        "standard error. The page is written by `make quality-text`. Each method is its pipeline in `pipelines/text/`",
        f"on a small encoder, with batches of {BATCH} and a learning rate of {RATE:g}; nothing was chosen by test",
        "labels. Perplexities are on held-out rows, of the words that the method predicts: they compare within a row",
        "of the table only. That of `unigram` predicts every word from its frequency alone. Probed rows are the most",
        "of a split that probes see: below the size of the corpus they are whole blocks of the sorted articles, so",
        "topics are uneven and such rows only show that the script works.",
        "",
        "| method | shape | steps | linear | knn | untrained linear, knn | TF-IDF linear, knn | perplexity "
        "| untrained | unigram | probed rows | seeds | seconds |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [_line(method, rows[method]) for method in METHODS if method in rows]
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _line(method: str, found: list[dict[str, Any]]) -> str:
    def cell(probe: str, kind: str) -> str:
        return spread([result["probes"][probe][kind] for result in found])

    def words(kind: str) -> str:
        values = [r["perplexity"][kind] for r in found if r["perplexity"]["pretrained"] is not None]
        return f"{mean(values):,.0f}" if values else ""

    cells = [method, found[0]["shape"], f"{found[0]['steps']:,}"]
    cells += [cell("linear", "pretrained"), cell("knn", "pretrained")]
    cells += [f"{cell('linear', kind)}, {cell('knn', kind)}" for kind in ("untrained", "raw")]
    cells += [words("pretrained"), words("untrained"), words("unigram"), f"{found[0]['samples']:,}", str(len(found))]
    return "| " + " | ".join([*cells, f"{mean(result['seconds'] for result in found):.0f}"]) + " |"


def spread(values: list[float]) -> str:
    """Mean and standard error in per cent."""
    error = f" ± {100 * stdev(values) / len(values) ** 0.5:.1f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.1f}{error}"


if __name__ == "__main__":
    main()
