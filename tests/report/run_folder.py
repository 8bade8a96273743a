"""Makes the folder of a finished run from scikit-learn's digits, with principal components in place of an encoder."""

import functools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from selfray.evaluation.clusters import gallery
from selfray.evaluation.pictures import drawn
from selfray.evaluation.sounds import encoded

PROTOCOL = "Frozen features, 20 nearest neighbours weighted by similarity, as in InstDisc (Wu et al. 2018)."
SUMMARY: dict[str, Any] = {
    "name": "digits-simclr",
    "status": "finished",
    "seed": 0,
    "steps": 800,
    "total_steps": 800,
    "epochs": 40.0,
    "samples": 204800,
    "seconds": 83.4,
    "samples_per_second": 2455.6,
    "device": "cpu",
    "precision": "bf16",
    "compile": True,
    "workers": 2,
    "threads": 1,
    "parameters": {"encoder": 11_173_962, "objective": 11_567_754},
    "objective": "simclr",
    "encoder": "resnet18",
    "corpus": {
        "name": "digits",
        "path": "/data/corpora/digits",
        "rows": 1437,
        "shape": [8, 8, 1],
        "classes": [str(digit) for digit in range(10)],
        "fingerprint": "0123456789abcdef0123456789abcdef",
        "licence": "CC BY 4.0",
    },
    "mlflow": {"tracking_uri": "sqlite:////data/runs/digits/mlflow.db", "run_id": "4f1c9a", "experiment": "digits"},
    "versions": {"selfray": "0.1.0", "torch": "2.13.0", "ray": "2.60.0", "mlflow": "3.17.2"},
    "warnings": ["Step 120 took 9 times as long as the median step: another process may have used the CPU."],
}
RESULTS: dict[str, Any] = {
    "samples": {"train": 1437, "test": 360},
    "probes": [
        {
            "probe": "knn",
            "metric": "accuracy",
            "protocol": PROTOCOL,
            "pretrained": 0.969,
            "untrained": 0.903,
            "raw": 0.944,
            "raw_name": "raw pixels",
            "higher_is_better": True,
            "interval": [0.95, 0.984],
        },
        {
            "probe": "linear",
            "metric": "accuracy",
            "protocol": "Logistic regression on frozen features (Chen et al. 2020).",
            "pretrained": 0.951,
            "untrained": 0.912,
            "raw": 0.947,
            "raw_name": "raw pixels",
            "higher_is_better": True,
            "interval": [0.93, 0.97],
        },
        {
            "probe": "clustering",
            "metric": "NMI",
            "protocol": "k-means with as many clusters as classes, 10 starts.",
            "pretrained": 0.71,
            "untrained": 0.74,
            "raw": 0.73,
            "raw_name": "raw pixels",
            "higher_is_better": True,
        },
    ],
    "scores": [
        {
            "score": "rankme",
            "pretrained": 31.4,
            "untrained": 9.2,
            "meaning": "Effective number of dimensions in use; higher keeps more information.",
        },
        {
            "score": "uniformity",
            "pretrained": -3.1,
            "untrained": -0.4,
            "meaning": "How evenly embeddings cover the sphere; lower is more even.",
        },
    ],
    "verdict": "Pretraining helped: kNN accuracy is 6.6 points above the untrained encoder and 2.5 above raw pixels.",
}
RECIPE = """name: digits-simclr
seed: 0
corpus:
  name: digits
pretrain:
  objective: {name: simclr, temperature: 0.2}
  encoder: {name: resnet18, width: 512}
  steps: 800
evaluate:
  probes:
    - knn
    - linear
"""


def metrics_lines(steps: int = 800) -> list[dict[str, float]]:
    """What a run logs: training every 4 steps, health every 20, and no value of one key in every line."""
    noise = np.random.default_rng(0)
    lines = []
    for step in range(0, steps + 1, 4):
        progress = step / steps
        line = {
            "step": step,
            "epoch": step / 20,
            "samples": step * 256,
            "seconds": step * 0.1,
            "train/loss": 1.2 + 3.6 * math.exp(-5 * progress) + 0.05 * noise.standard_normal(),
            "train/learning_rate": 1e-3 * min(step / 80 + 0.01, 0.5 + 0.5 * math.cos(math.pi * progress)),
            "train/gradient_norm": 0.4 + 3 * math.exp(-9 * progress) + 0.1 * noise.random(),
            "train/positive_similarity": 0.9 - 0.6 * math.exp(-6 * progress) + 0.01 * noise.standard_normal(),
        }
        if step % 20 == 0:
            line["health/feature_std"] = 0.9 - 0.65 * math.exp(-8 * progress)
            line["health/rankme"] = 31 - 22 * math.exp(-5 * progress) + noise.random()
            line["health/uniformity"] = -3.1 + 2.8 * math.exp(-6 * progress)
            line["speed/samples_per_second"] = 2450 + 60 * noise.standard_normal() - (900 if step == 0 else 0)
            line["speed/data_wait_share"] = 0.02 + 0.01 * noise.random()
        lines.append(line)
    return lines


def digits(samples: int) -> dict[str, Any]:
    """What an evaluation leaves: images, embeddings with and without pretraining, labels."""
    images, label = _pixels()
    pixels = images.reshape(len(images), 64)
    centred = pixels - pixels.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    mixed = np.abs(centred[:samples] @ np.random.default_rng(0).standard_normal((64, 16)))
    return {
        "image": (images[:samples, :, :, None] * 15.9).astype(np.uint8),
        "embedding": (centred[:samples] @ axes[:12].T).astype(np.float32),
        "untrained": mixed.astype(np.float32),
        "label": label[:samples].astype(np.int32),
        "id": np.arange(samples, dtype=np.int64) * 3,
        "classes": np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]),
    }


@functools.cache
def _pixels() -> tuple[Any, Any]:
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.images, data.target


def complete_run(folder: Path, samples: int = 120) -> Path:
    """Write every file of a finished and evaluated run."""
    for name in ("evaluation", "encoder"):
        (folder / name).mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(SUMMARY))
    (folder / "evaluation/results.json").write_text(json.dumps(RESULTS))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics_lines()))
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "encoder/encoder.json").write_text(json.dumps({"encoder": "resnet18", "width": 512, "stride": 8}))
    (folder / "encoder/README.md").write_text("# digits-simclr\n")
    arrays = digits(samples)
    np.savez(folder / "evaluation/samples.npz", **arrays)
    sample = arrays["image"][:8]
    np.savez(folder / "views.npz", sample=sample, first=np.roll(sample, 1, axis=2), second=255 - sample[:, ::-1])
    np.savez(folder / "clusters.npz", **gallery(np.arange(len(sample)) % 3, sample))
    return folder


def of_text(folder: Path, samples: int = 120) -> Path:
    """The same run as of a corpus of texts: samples are read instead of seen."""
    complete_run(folder, samples)
    arrays = digits(samples)
    del arrays["image"]
    text = np.array([f"{arrays['classes'][label]} said the {label}. row, <b>&" for label in arrays["label"]])
    np.savez(folder / "evaluation/samples.npz", **arrays, **{"image.text": text})
    masked = np.array([line.replace("said", "[MASK]") for line in text[:8]])
    np.savez(folder / "views.npz", **{"sample.text": text[:8], "tokens.text": masked})
    (folder / "clusters.npz").unlink()
    return folder


def of_sound(folder: Path, samples: int = 60) -> Path:
    """The same run as of a corpus of sounds: a tone for each digit, its spectrum, and an MP3 of it."""
    complete_run(folder, samples)
    arrays = digits(samples)
    time = np.arange(4000) / 8000
    waves = np.stack([(8000 * np.sin(2 * np.pi * 110 * (label + 2) * time)) for label in arrays["label"]])
    played = encoded(waves.astype(np.int16), 8000)
    arrays["image"] = drawn("audio", waves.astype(np.int16))
    np.savez(folder / "evaluation/samples.npz", **arrays, **{"image.sound": played.sound, "image.ends": played.ends})
    few = encoded(waves[:8].astype(np.int16), 8000)
    np.savez(
        folder / "views.npz",
        **{"sample": arrays["image"][:8], "sample.sound": few.sound, "sample.ends": few.ends},
        **{"denoised": arrays["image"][:8], "denoised.sound": few.sound, "denoised.ends": few.ends},
    )
    (folder / "clusters.npz").unlink()
    return folder
