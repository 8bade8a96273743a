"""What pretraining on images is worth: every method with one network and one budget, beside trivial baselines.

    python benchmarks/quality_image.py                              # all methods, three seeds (hours)
    python benchmarks/quality_image.py --methods byol dino --seeds 0

Fashion-MNIST, the official split; labels are used by probes only. Every method is its pipeline file with a network that
two CPU cores can train, changed by the table SMALL alone. A result is kept in docs/results/measured, so that an
interrupted run goes on where it was; changed settings are measured anew. The page docs/results/image.md and its plot
are written after each of them.
"""

import argparse
from collections.abc import Iterator
from statistics import mean
from typing import Any

import quality
from quality import Case, Row

LEDGER = quality.Ledger("image", "method", "seed")
PICTURE = quality.ROOT / "docs" / "images" / "quality-image.png"
CORPUS, BATCH, STEPS = "fashion-mnist", 256, 1200
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
}
SUPERVISED = "with labels"


def main() -> None:
    parser = quality.arguments(__doc__, [*SMALL, SUPERVISED])
    asked = parser.parse_args()
    quality.measure_all(LEDGER, cases(asked), measured, write, asked.again)


def cases(asked: argparse.Namespace) -> Iterator[Case]:
    """Seeds last, so that the page soon has all methods."""
    for seed in asked.seeds:
        for method in asked.methods:
            yield {"method": method, "seed": seed}, recipe(method, seed, asked.threads)


def recipe(method: str, seed: int, threads: int) -> Any:
    """The method's pipeline with a small network and a short run; with labels, all but the objective of SimCLR's."""
    from selfray import recipe as recipes

    labelled = method == SUPERVISED
    plain = recipes.load(f"image/{'simclr' if labelled else method}").plain()
    plain |= {"name": method.replace(" ", "_"), "seed": seed, "corpus": {"fetch": CORPUS}}
    pretrain, small = plain["pretrain"], SMALL[method] if not labelled else {"views": GENTLE}
    pretrain["encoder"] = small.get("encoder", CONVOLUTIONS)
    pretrain["objective"] |= small.get("objective", {})
    pretrain["views"] = small.get("views", INVARIANT)
    pretrain["optimizer"] = small.get("optimizer", ADAM)
    pretrain |= {"batch": BATCH, "steps": STEPS, "epochs": None, "warmup": 0.1, "lanes": 8, **quality.here(threads)}
    return recipes.parse(plain)


def measured(one: Any) -> Row:
    """Accuracies of one run, and label-free scores."""
    with_labels = one.name == SUPERVISED.replace(" ", "_")
    return quality.supervised(one) if with_labels else quality.pretrained(one, PROBES).row()


def write() -> None:
    """The page of all results, and the plot."""
    rows = quality.by_method(LEDGER)
    methods = [method for method in SMALL if method in rows]
    lines = [
        "# Quality: images",
        "",
        "Accuracy on the 10,000 test pictures of Fashion-MNIST in per cent, kNN and linear probe fitted on all 60,000",
        f"labels: mean over seeds and standard error. Every method saw {STEPS:,} batches of {BATCH}, or 5 epochs",
        f"with a network of {CONVOLUTIONS['stages']} stages and {CONVOLUTIONS['width']} features",
        "(`mae` and `ijepa`: a Transformer of three layers and 192 features). The page is written by",
        "`make quality-image`; settings are those of `pipelines/image/`, changed by the table `SMALL` in",
        "`benchmarks/quality_image.py`. How they were chosen is in [the experiments](../experiments.md).",
        "RankMe and uniformity are label-free scores of the embeddings. Gains are over the same network untrained.",
        "Seconds are of a machine of two cores that did other things as well, with one thread or two.",
        "",
        "![kNN and linear accuracy of every method](../images/quality-image.png)",
        "",
        "| method | gain kNN | gain linear | kNN | linear | untrained kNN, linear | RankMe | uniformity | seeds "
        "| seconds |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [_line(method, rows[method]) for method in methods]
    if methods:
        raw = [quality.accuracy(rows[methods[0]][:1], probe, "raw") for probe in PROBES]
        lines.append(quality.line(["raw pixels", "", "", *raw, *[""] * 5]))
        _draw(rows, methods)
    if found := rows.get(SUPERVISED):
        cells = ["the same network trained with labels", "", "", "", quality.accuracy(found, "linear"), "", "", ""]
        lines.append(quality.line([*cells, str(len(found)), quality.seconds(found)]))
    lines += ["", "`colorization` is not in the table: these pictures are grey."]
    quality.write_page("image", lines)


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
