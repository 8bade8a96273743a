"""What pretraining on text is worth: methods x corpora x seeds, beside TF-IDF and the untrained encoder.

    python benchmarks/quality_text.py                                        # everything, three seeds, 2,000 steps
    python benchmarks/quality_text.py --corpora wordnet-glosses --methods simcse vae --seeds 0
    python benchmarks/quality_text.py --methods mlm gpt --seeds 0 --steps 100 --samples 2000

Every method is its pipeline file, on a small encoder; nothing is chosen by test labels. A result is kept in
docs/results/measured, so that an interrupted run goes on where it was; changed settings are measured anew. The page
docs/results/text.md is written from all results after each of them.
"""

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import quality
from quality import Case, Row

LEDGER = quality.Ledger("text", "corpus", "method", "seed")
METHODS = ["mlm", "electra", "nsp", "gpt", "simcse", "tsdae", "vae", "moco", "byol"]
CORPORA = {  # name -> what its rows are and what is asked of them
    "wordnet-glosses": "The lexicographer file, one of 45, of glosses of up to 48 tokens.",
    "newsgroups": "The newsgroup, one of 20, of rows of up to 128 tokens.",
    "bbc-news": "The topic, one of 5, of rows of up to 128 tokens.",
}
BATCH, RATE = 64, 1e-3  # of every method: the pipelines' own are for encoders of twelve layers
TELLING = ("mlm", "electra", "nsp", "gpt")  # words, one at a time: they learn faster from small steps, and more of them
WORDS: dict[str, Any] = {"batch": 16, "lr": 2e-3, "dropout": 0.0}
HIDDEN = 0.4  # share of the words, where some are hidden; pipelines hide 0.15, which takes longer to learn from
PROBES: dict[str, dict[str, Any]] = {"linear": {}, "knn": {}}
COUNTED, ROWS = "3-grams", 512  # an n-gram model; the held-out rows that perplexities are of


def main() -> None:
    parser = quality.arguments(__doc__, [*METHODS, COUNTED])
    parser.add_argument("--corpora", nargs="+", default=list(CORPORA), choices=list(CORPORA))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--shape", default="tiny", help="of the encoder")
    parser.add_argument("--samples", type=int, default=60_000, help="rows that probes are fitted and tested on at most")
    asked = parser.parse_args()
    quality.measure_all(LEDGER, cases(asked), lambda one: measured(one, asked.samples), write, asked.again)


def cases(asked: argparse.Namespace) -> Iterator[Case]:
    """Seeds last, so that the page soon has all methods."""
    for seed in asked.seeds:
        for corpus in asked.corpora:
            for method in asked.methods:
                key = {"corpus": corpus, "method": method, "seed": seed, "samples": asked.samples}
                yield key, recipe(method, corpus, seed, asked)


def recipe(method: str, corpus: str, seed: int, asked: argparse.Namespace) -> Any:
    """The method's pipeline on the corpus, with a small encoder."""
    from selfray import recipe as recipes

    plain = recipes.load(f"text/{'gpt' if method == COUNTED else method}").plain()
    plain |= {"seed": seed, "corpus": {"fetch": corpus}}
    plain["name"] = method
    pretrain = plain["pretrain"]
    pretrain["encoder"] |= {"shape": asked.shape, "pooling": "mean"}
    pretrain["optimizer"] |= {"lr": RATE}
    pretrain |= {"batch": BATCH, "steps": asked.steps, "epochs": None, "warmup": 0.1, **quality.here(asked.threads)}
    if method == "tsdae":
        pretrain["objective"]["layers"] = 2
    if method in TELLING:
        tell_words(pretrain)
    return recipes.parse(plain)


def tell_words(pretrain: dict[str, Any]) -> None:
    """As many rows in steps of `WORDS`, with `HIDDEN` of the words hidden where words are."""
    pretrain["steps"] = pretrain["steps"] * BATCH // WORDS["batch"]
    pretrain |= {"batch": WORDS["batch"], "lanes": WORDS["batch"]}
    pretrain["optimizer"]["lr"], pretrain["encoder"]["dropout"] = WORDS["lr"], WORDS["dropout"]
    for part in (pretrain["objective"], pretrain.get("views") or {}):
        if "mask_ratio" in part:
            part["mask_ratio"] = HIDDEN


def measured(one: Any, samples: int) -> Row:
    """Accuracies and pairs of one run, and perplexities on held-out rows where the objective predicts words."""
    from selfray.corpus import catalogue
    from selfray.evaluation import beside

    if one.name == COUNTED:
        return counted(one)
    asked = PROBES | ({"pairs": {}} if beside.there("pairs", catalogue.fetch(one.corpus.fetch)) else {})
    run = quality.pretrained(one, asked, samples)
    words = {
        "pretrained": perplexity(run.trained, run.views, run.corpus),
        "untrained": perplexity(run.untrained, run.views, run.corpus),
        "unigram": unigram(run.corpus),
    }
    return run.row() | {"perplexity": words, "steps": one.pretrain.steps, "shape": one.pretrain.encoder["shape"]}


def perplexity(objective: Any, views: Any, corpus: Path) -> float | None:
    """Of the words that the objective predicts on held-out rows, with masks of a fixed seed."""
    found = quality.held_out(objective, views, corpus, "perplexity", ROWS)
    return round(math.exp(mean(map(math.log, found))), 1) if found else None


def counted(one: Any) -> Row:
    """Perplexity of the held-out rows of `perplexity` by counting, in place of a network."""
    from ngrams import KneserNey

    from selfray.corpus import catalogue
    from selfray.corpus.manifest import Manifest

    corpus, begun = catalogue.fetch(one.corpus.fetch), time.perf_counter()
    model = KneserNey(tokens(corpus, "train", 10**6), Manifest.read(corpus).facts["vocabulary"])
    words = {"pretrained": round(model.perplexity(tokens(corpus, "test", ROWS)), 1)}
    taken = {"seconds": round(time.perf_counter() - begun, 1), "steps": 0, "shape": ""}
    return {"probes": {}, "perplexity": words} | taken


def unigram(corpus: Path) -> float:
    """Perplexity of held-out words by how frequent they are in the training split, each counted once more."""
    import numpy as np

    from selfray.corpus.manifest import Manifest

    vocabulary = Manifest.read(corpus).facts["vocabulary"]
    train, test = (np.concatenate(tokens(corpus, split, 10**6)) for split in ("train", "test"))
    counts = np.bincount(train, minlength=vocabulary) + 1.0
    logs = np.log(counts / counts.sum())
    return round(float(np.exp(-logs[test].mean())), 1)


def tokens(corpus: Path, split: str, rows: int) -> list[list[int]]:
    """The rows of a split without padding."""
    from selfray.corpus.manifest import Manifest
    from selfray.evaluation.features import load

    pad = Manifest.read(corpus).facts["pad"]
    return [row[row != pad].tolist() for row in load(corpus, split, rows).data]


def write() -> None:
    """The page of all results."""
    rows = quality.by_method(LEDGER, "corpus")
    lines = [
        "# Quality: text",
        "",
        "Accuracy on held-out rows in per cent: the mean over seeds and its standard error. Gains are over the same",
        "encoder untrained. The page is written by `make quality-text`. Each method is its pipeline in",
        f"`pipelines/text/` on a small encoder, with batches of {BATCH} and a learning rate of {RATE:g};",
        f"{', '.join(TELLING[:-1])} and {TELLING[-1]} see as many rows in batches of {WORDS['batch']}, with",
        f"{WORDS['lr']:g}, no dropout and {HIDDEN:.0%} of the words hidden where words are. Nothing was chosen by test",
        "labels; these settings were by perplexity ([experiments](../experiments.md)). Perplexities are on held-out",
        "rows, of the words that the method predicts: they compare within a row of the table only; that of `vae` is an",
        "upper bound. That of `unigram` predicts every word from its frequency alone. The row of 3-grams is a model of",
        "counts with Kneser-Ney smoothing, to be compared with `gpt`. Probed rows are the most of a split that probes",
        "see: below the size of the corpus they are whole blocks of its rows, so classes are uneven and such rows only",
        "show that the script works.",
    ]
    for corpus, asked in CORPORA.items():
        lines += _tables(corpus, asked, {method: of for (method, where), of in rows.items() if where == corpus})
    quality.write_page("text", lines if rows else [*lines[:2], quality.NOTHING.format("text")])


def _tables(corpus: str, asked: str, rows: dict[str, list[Row]]) -> list[str]:
    """What was measured on a corpus: classes and words, then pairs if it has some."""
    if not rows:
        return []
    lines = ["", f"## {corpus}", "", asked, ""]
    lines += [
        "| method | gain linear | gain knn | linear | knn | untrained linear, knn | TF-IDF linear, knn | perplexity "
        "| untrained | unigram | shape | steps | probed rows | seeds | seconds |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|--:|--:|--:|--:|",
    ]
    lines += [_line(method, rows[method]) for method in METHODS if method in rows]
    if found := rows.get(COUNTED):
        cells = [*[""] * 6, f"{found[0]['perplexity']['pretrained']:,.0f}", *[""] * 6]
        lines.append(quality.line([COUNTED, *cells, quality.seconds(found)]))
    paired = {method: of for method, of in rows.items() if all("pairs" in row["probes"] for row in of)}
    if not paired:
        return lines
    lines += [
        "",
        "Held-out pairs of its texts, times 100: whether a text finds its partner, and for graded pairs Spearman's",
        "correlation of the cosine with the grade ([probe `pairs`](../evaluate.md#pairs-of-texts)).",
        "",
        "| method | gain MRR | gain Spearman | MRR | untrained | TF-IDF | recall@10 | untrained | TF-IDF "
        "| Spearman | untrained | TF-IDF |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [_line_of_pairs(method, paired[method]) for method in METHODS if method in paired]
    return lines


def _line(method: str, found: list[Row]) -> str:
    def words(kind: str) -> str:
        values = [r["perplexity"][kind] for r in found if r["perplexity"]["pretrained"] is not None]
        return f"{mean(values):,.0f}" if values else ""

    cells = [method, quality.gain(found, "linear"), quality.gain(found, "knn")]
    cells += [quality.accuracy(found, "linear"), quality.accuracy(found, "knn")]
    cells += [
        f"{quality.accuracy(found, 'linear', kind)}, {quality.accuracy(found, 'knn', kind)}"
        for kind in ("untrained", "raw")
    ]
    cells += [words("pretrained"), words("untrained"), words("unigram")]
    cells += [found[0]["shape"], f"{found[0]['steps']:,}", f"{found[0]['samples']:,}"]
    return quality.line([*cells, str(len(found)), quality.seconds(found)])


def _line_of_pairs(method: str, found: list[Row]) -> str:
    graded = all("pairs/similarity" in row["probes"] for row in found)
    probes = ["pairs", "pairs/recall10", *(["pairs/similarity"] if graded else [])]
    cells = [method, quality.gain(found, "pairs"), quality.gain(found, "pairs/similarity") if graded else ""]
    cells += [quality.accuracy(found, probe, kind) for probe in probes for kind in ("pretrained", "untrained", "raw")]
    return quality.line([*cells, *([] if graded else [""] * 3)])


if __name__ == "__main__":
    main()
