"""wav2vec 2.0 as users of transformers pretrain it: its model, masks and negatives as in its pretraining example."""

from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForPreTraining
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices, _sample_negative_indices
from variants import Clock, trained_numbers

from selfray.corpus.manifest import Manifest
from selfray.encoders.inputs import SILENT_PAD
from selfray.encoders.wav2vec2 import KERNELS, SHAPES, STRIDES
from selfray.evaluation.features import load

if TYPE_CHECKING:
    from beside import Task

SHORTEST = 0.7  # seconds; in shorter ones there may be no second masked position, and transformers stops


def train(task: "Task", one: Any) -> dict[str, Any]:
    """Rate, share of seconds that are no padding, and trained numbers."""
    torch.manual_seed(task.seed)
    torch.set_num_threads(task.threads)
    asked, rate = one.pretrain.objective, Manifest.read(Path(task.corpus)).facts["rate"]
    width, depth, heads, inner = SHAPES[task.shape]
    dropouts = ("hidden", "attention", "activation", "feat_proj", "feat_quantizer")
    model = Wav2Vec2ForPreTraining(
        Wav2Vec2Config(
            hidden_size=width,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            conv_dim=(inner,) * len(KERNELS),
            conv_kernel=KERNELS,
            conv_stride=STRIDES,
            conv_bias=True,
            feat_extract_norm="layer",
            do_stable_layer_norm=True,
            layerdrop=0.0,
            mask_time_prob=asked["share"] * asked["span"],
            mask_time_length=asked["span"],
            num_negatives=asked["negatives"],
            **{f"{name}_dropout": 0.0 for name in dropouts},
        )
    ).train()
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=rate, do_normalize=True, return_attention_mask=True)

    def collate(rows: list[np.ndarray[Any, Any]]) -> tuple[dict[str, Any], float]:
        sounds = [row[row != SILENT_PAD] / 32768 for row in rows]
        batch = extractor(sounds, sampling_rate=rate, padding=True, return_tensors="pt")
        frames = int(model._get_feat_extract_output_lengths(batch["input_values"].shape[-1]))
        seen = model._get_feature_vector_attention_mask(frames, batch["attention_mask"])
        shape = (len(rows), frames)
        masked = _compute_mask_indices(
            shape, asked["share"] * asked["span"], asked["span"], attention_mask=seen, min_masks=2
        )
        negatives = _sample_negative_indices(shape, asked["negatives"], mask_time_indices=masked)
        batch |= {"mask_time_indices": torch.tensor(masked), "sampled_negative_indices": torch.tensor(negatives)}
        return dict(batch), sum(map(len, sounds)) / rate

    rows = load(Path(task.corpus), "train", 10**6).data
    rows = rows[(rows != SILENT_PAD).sum(1) > SHORTEST * rate]
    loader = DataLoader(rows, task.batch, shuffle=True, drop_last=True, collate_fn=collate)  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    clock, shares, done = Clock(task.row), list[float](), 0
    while done < task.steps:
        for batch, seconds in loader:
            with torch.autocast("cpu", torch.bfloat16, enabled=task.precision == "bf16"):
                found = model(**batch)
            (found.loss / batch["mask_time_indices"].sum()).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            model.set_gumbel_temperature(max(2.0 * 0.999995**done, 0.5))
            clock.step(seconds)
            shares.append(seconds * rate / batch["input_values"].numel())
            done += 1
            if done == task.steps:
                break
    return {"rate": clock.rate, "useful": mean(shares), "parameters": trained_numbers(model)}
