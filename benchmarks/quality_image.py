"""What pretraining on images is worth: every method with one network and one budget, beside trivial baselines.

    python benchmarks/quality_image.py                              # all methods, both corpora, three seeds (hours)
    python benchmarks/quality_image.py --methods byol dino --corpora fashion-mnist --seeds 0

Fashion-MNIST, the official split, and emoji, of which a fifth is unseen; labels are used by probes only. Every method
is its pipeline file with a network that two CPU cores can train, changed by the table SMALL alone. A result is kept in
docs/results/measured, so that an interrupted run goes on where it was; changed settings are measured anew. The page
docs/results/image.md and its plot are written after each of them.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import quality
from quality import Case, Row

LEDGER = quality.Ledger("image", "corpus", "method", "seed")
PICTURE = quality.ROOT / "docs" / "images" / "quality-image.png"
GREY, COLOUR, SHIFTED = "fashion-mnist", "emoji-google", "emoji-twitter"
BUDGET: dict[str, dict[str, int]] = {GREY: {"batch": 256, "steps": 1200}, COLOUR: {"batch": 128, "steps": 600}}
SIZE = 32  # of the pictures in colour, which are stored at 64
PROBES: dict[str, dict[str, Any]] = {"knn": {}, "linear": {}}
CONVOLUTIONS = {"name": "conv", "width": 64, "stages": 3}
PATCHES = {"name": "vit", "shape": "tiny", "patch": 4, "layers": 3, "positions": "sincos", "pooling": "mean"}
INVARIANT = {"scale": [0.3, 1.0], "brightness": 0.4, "contrast": 0.4, "blur": 0.0}
GENTLE = {"scale": [0.6, 1.0], "jitter": 0.0, "grey": 0.0, "blur": 0.0}
ADAM = {"name": "adamw", "lr": 2e-3, "weight_decay": 1e-4}
FLAT = {"name": "adamw", "lr": 2e-4, "weight_decay": 0.0, "betas": [0.5, 0.999]}
SMALL: dict[str, dict[str, Any]] = {  # what differs from the pipeline besides network and budget
    "simclr": {"objective": {"temperature": 0.2}},
    "moco": {"objective": {"queue_size": 4096, "momentum": 0.99}},
    "byol": {"objective": {"momentum": 0.9, "momentum_end": 0.99, "hidden": 512, "width": 128}},
    "simsiam": {"objective": {"width": 512, "bottleneck": 128}},
    "dino": {
        "objective": {"prototypes": 256, "hidden": 256, "width": 64, "momentum": 0.95, "momentum_end": 0.99}
        | {"centring": "sinkhorn", "teacher_temperature_end": 0.04}
    },
    "barlow_twins": {"objective": {"hidden": 512, "width": 512}},
    "vicreg": {"objective": {"hidden": 512, "width": 512}},
    "swav": {"objective": {"prototypes": 100, "hidden": 512, "width": 64, "epsilon": 0.03}},
    "deepcluster": {"objective": {"clusters": 100, "components": 32}},
    "autoencoder": {"views": GENTLE},
    "vae": {"views": GENTLE, "objective": {"latent": 64}},
    "gan": {"views": GENTLE, "optimizer": FLAT, "objective": {"latent": 64, "width": 128, "critic_width": 32}},
    "inpainting": {"views": GENTLE, "optimizer": FLAT | {"lr": 1e-3}, "objective": {"critic_width": 32}},
    "jigsaw": {"views": GENTLE, "objective": {"permutations": 100, "tile_width": 64, "hidden": 256}},
    "rotation": {"views": GENTLE},
    "mae": {"encoder": PATCHES, "views": GENTLE, "objective": {"width": 96, "layers": 2}},
    "ijepa": {"encoder": PATCHES, "views": GENTLE, "objective": {"width": 96, "layers": 2, "momentum": 0.99}},
    "colorization": {"views": GENTLE},
}
SUPERVISED = "with labels"


def main() -> None:
    parser = quality.arguments(__doc__, [*SMALL, SUPERVISED])
    parser.add_argument("--corpora", nargs="+", default=[GREY, COLOUR], choices=[GREY, COLOUR])
    asked = parser.parse_args()
    quality.measure_all(LEDGER, cases(asked), measured, write, asked.again)


def cases(asked: argparse.Namespace) -> Iterator[Case]:
    """Seeds last, so that the page soon has all methods."""
    for seed in asked.seeds:
        for corpus in asked.corpora:
            for method in asked.methods:
                if method != "colorization" or corpus == COLOUR:
                    key = {"corpus": corpus, "method": method, "seed": seed}
                    yield key, recipe(method, seed, asked.threads, corpus)


def recipe(method: str, seed: int, threads: int, corpus: str = GREY) -> Any:
    """The method's pipeline with a small network and a short run; with labels, all but the objective of SimCLR's."""
    from selfray import recipe as recipes

    labelled = method == SUPERVISED
    plain = recipes.load(f"image/{'simclr' if labelled else method}").plain()
    plain |= {"name": method.replace(" ", "_"), "seed": seed, "corpus": {"fetch": corpus}}
    pretrain, small = plain["pretrain"], SMALL[method] if not labelled else {"views": GENTLE}
    pretrain["encoder"] = small.get("encoder", CONVOLUTIONS)
    pretrain["objective"] |= small.get("objective", {})
    pretrain["views"] = small.get("views", INVARIANT) | ({"size": SIZE} if corpus == COLOUR else {})
    pretrain["optimizer"] = small.get("optimizer", ADAM)
    pretrain |= {**BUDGET[corpus], "epochs": None, "warmup": 0.1, "lanes": 8, **quality.here(threads)}
    return recipes.parse(plain)


def measured(one: Any) -> Row:
    """Accuracies of one run, and label-free scores."""
    if one.name == SUPERVISED.replace(" ", "_"):
        return quality.supervised(one)
    run = quality.pretrained(one, PROBES)
    return run.row() | ({"shifted": _shifted(run)} if one.corpus.fetch == COLOUR else {})


def _shifted(run: quality.Outcome) -> dict[str, dict[str, float]]:
    """The same probes on pictures of another hand, none of which was pretrained on."""
    from selfray.corpus import catalogue
    from selfray.evaluation.compare import compare

    with tempfile.TemporaryDirectory() as folder:
        judged = (run.trained.encoder, run.untrained.encoder, run.views, catalogue.fetch(SHIFTED), PROBES)
        found = compare(*judged, Path(folder))
    return {
        row["probe"]: {who: round(row[who], 4) for who in ("pretrained", "untrained", "raw")} for row in found["probes"]
    }


def write() -> None:
    """The page of all results, and the plot."""
    rows = quality.by_method(LEDGER, "corpus")
    grey, colour = ({method: found for (method, of), found in rows.items() if of == one} for one in (GREY, COLOUR))
    first = BUDGET[GREY]
    lines = [
        "# Quality: images",
        "",
        "Accuracy in per cent on held-out pictures, kNN and linear probe fitted on all labels of the others: mean over",
        f"seeds and standard error. Networks have {CONVOLUTIONS['stages']} stages and {CONVOLUTIONS['width']} features",
        "(`mae` and `ijepa`: a Transformer of three layers and 192 features). The page is written by",
        "`make quality-image`; settings are those of `pipelines/image/`, changed by the table `SMALL` in",
        "`benchmarks/quality_image.py`. How they were chosen is in [the experiments](../experiments.md).",
        "RankMe and uniformity are label-free scores of the embeddings. Gains are over the same network untrained.",
        "Seconds are of a machine of two cores that did other things as well, with one thread or two.",
        "",
        "## Clothes: `fashion-mnist`",
        "",
        f"10,000 test pictures in grey, and 60,000 others. Every method saw {first['steps']:,} batches of",
        f"{first['batch']}, or 5 epochs. `colorization` is not in the table: these pictures have no colours.",
        "",
        "![kNN and linear accuracy of every method](../images/quality-image.png)",
        "",
        *_table(grey),
    ]
    if grey:
        _draw(grey, [method for method in SMALL if method in grey])
    if colour:
        second = BUDGET[COLOUR]
        lines += [
            "",
            f"## Emoji: `{COLOUR}`",
            "",
            "Nine categories, from smileys to flags, of emoji that were not pretrained on in any skin tone. Pictures",
            f"are {SIZE} x {SIZE} in colour; every method saw {second['steps']:,} batches of {second['batch']}.",
            "",
            *_table(colour),
            "",
            f"The same encoders on `{SHIFTED}`, where another hand draws the same emoji and none was pretrained on:",
            "",
            "| method | gain kNN | gain linear | kNN | linear |",
            "|---|--:|--:|--:|--:|",
        ]
        for method in (method for method in SMALL if method in colour):
            shifted: list[Row] = [{"probes": row["shifted"]} for row in colour[method]]
            cells = [of(shifted, probe) for of in (quality.gain, quality.accuracy) for probe in PROBES]
            lines.append(quality.line([method, *cells]))
    quality.write_page("image", lines)


def _table(rows: dict[str, list[Row]]) -> list[str]:
    methods = [method for method in SMALL if method in rows]
    lines = [
        "| method | gain kNN | gain linear | kNN | linear | untrained kNN, linear | RankMe | uniformity | seeds "
        "| seconds |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        *(_line(method, rows[method]) for method in methods),
    ]
    if methods:
        raw = [quality.accuracy(rows[methods[0]][:1], probe, "raw") for probe in PROBES]
        lines.append(quality.line(["raw pixels", "", "", *raw, *[""] * 5]))
    if found := rows.get(SUPERVISED):
        cells = ["the same network trained with labels", "", "", "", quality.accuracy(found, "linear"), "", "", ""]
        lines.append(quality.line([*cells, str(len(found)), quality.seconds(found)]))
    return lines


def _line(method: str, found: list[Row]) -> str:
    cells = [
        method,
        *(quality.gain(found, probe) for probe in PROBES),
        *(quality.accuracy(found, probe) for probe in PROBES),
    ]
    cells.append(", ".join(quality.accuracy(found, probe, "untrained") for probe in PROBES))
    scores = [f"{mean(row['scores'][name] for row in found):.{digits}f}" for name, digits in _SCORES.items()]
    return quality.line([*cells, *scores, str(len(found)), quality.seconds(found)])


_SCORES = {"rankme": 1, "uniformity": 2}


def _draw(rows: dict[str, list[Row]], methods: list[str]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 0.28 * len(methods) + 1.2), sharey=True, layout="constrained")
    places = range(len(methods))[::-1]
    for axis, probe in zip(axes, PROBES, strict=True):
        for place, method in zip(places, methods, strict=True):
            for kind, colour in (("untrained", "#b0b7c3"), ("pretrained", "#2f6fdb")):
                values = [100 * row["probes"][probe][kind] for row in rows[method]]
                axis.plot(values, [place] * len(values), "o", color=colour, markersize=5, alpha=0.8)
        raw = 100 * rows[methods[0]][0]["probes"][probe]["raw"]
        axis.axvline(raw, color="#d9822b", linewidth=1)
        axis.annotate("raw pixels", (raw, 1), (3, -3), ("data", "axes fraction"), "offset points", va="top", fontsize=8)
        axis.set(title=f"{probe}, accuracy in %", yticks=list(places), yticklabels=methods)
        axis.grid(axis="x", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].plot([], [], "o", color="#2f6fdb", label="pretrained")
    axes[0].plot([], [], "o", color="#b0b7c3", label="untrained")
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main()
