"""lightly with PyTorch Lightning, wired as lightly's own SimCLR example wires them.

Its views are drawn by lightly's SimCLRTransform on PIL images in two DataLoader workers, with the recipe's settings of
the views (blur as often, no flip; the crop's aspect ratio is fixed in lightly's class). The encoder is selfray's.
"""

import warnings
from typing import Any

import torch
from image_variants import Clock, Row, Task, trainable
from lightly.loss import NTXentLoss
from lightly.models.modules.heads import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from selfray.corpus.manifest import Manifest
from selfray.corpus.read import read_rows
from selfray.train import build

LOADER_WORKERS = 2


class SimCLR(LightningModule):
    """As examples/pytorch_lightning/simclr.py of lightly has it: the two views go through the network one by one."""

    def __init__(self, settings: Any, manifest: Manifest):
        super().__init__()
        self.options = {key: settings.optimizer[key] for key in ("lr", "weight_decay")}
        self.encoder = build.encoder(settings.encoder, manifest, manifest.shape[:2])
        objective = settings.objective
        hidden = objective["hidden"] or self.encoder.width
        self.projection_head = SimCLRProjectionHead(self.encoder.width, hidden, objective["width"])
        self.criterion = NTXentLoss(temperature=objective["temperature"])

    def forward(self, images: Tensor) -> Tensor:
        """The projection of a view."""
        return self.projection_head(self.encoder.embed(images))

    def training_step(self, batch: Any, number: int) -> Tensor:
        """The loss of a batch of two views."""
        first, second = batch[0]
        return self.criterion(self.forward(first), self.forward(second))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The recipe's optimizer, in the same implementation."""
        return torch.optim.AdamW(self.parameters(), fused=True, **self.options)


class Pictures(Dataset):
    """The corpus as PIL images in memory, and their views."""

    def __init__(self, corpus: str, transform: SimCLRTransform):
        images = read_rows(corpus, "train", slice(None))["data"]
        self.pictures = [Image.fromarray(image.squeeze()) for image in images]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[list[Tensor], int, str]:
        return self.transform(self.pictures[index]), 0, str(index)


class Timed(Callback):
    """Tells the clock of each step that ends."""

    def __init__(self, task: Task):
        self.task = task

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.clock = Clock(self.task)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *rest: Any) -> None:
        """Count a step."""
        self.clock.step(outputs["loss"])


def transform_of(views: dict[str, Any], size: int) -> SimCLRTransform:
    """lightly's transform with the recipe's probabilities and strengths; the encoder normalises, as in selfray."""
    return SimCLRTransform(
        input_size=size,
        cj_prob=views["jitter"],
        cj_strength=1.0,
        cj_bright=views["brightness"],
        cj_contrast=views["contrast"],
        cj_sat=views["saturation"],
        cj_hue=views["hue"],
        min_scale=views["scale"][0],
        random_gray_scale=views["grey"],
        gaussian_blur=views["blur"],
        sigmas=tuple(views["blur_sigma"]),
        hf_prob=views["flip"],
        normalize=None,
    )


def lightly(task: Task) -> tuple[list[Row], int]:
    """Rows and trained numbers of lightly's SimCLR under Lightning's Trainer."""
    warnings.filterwarnings("ignore")
    recipe = task.recipe
    settings, manifest = recipe.pretrain, Manifest.read(task.corpus)
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(task.threads)
    model = SimCLR(settings, manifest)
    loader = DataLoader(
        Pictures(task.corpus, transform_of(settings.views, manifest.shape[0])),
        batch_size=task.batch,
        shuffle=True,
        drop_last=True,
        num_workers=LOADER_WORKERS,
        persistent_workers=True,  # lightly's example starts them anew every epoch, which would only cost it time
    )
    timed = Timed(task)
    trainer = Trainer(
        max_steps=task.total,
        max_epochs=-1,
        accelerator="cpu",
        devices=1,
        precision={"fp32": "32-true", "bf16": "bf16-mixed"}[task.precision],
        callbacks=[timed],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, loader)
    return timed.clock.rows, trainable(model)
