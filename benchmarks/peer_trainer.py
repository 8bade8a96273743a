"""Masked language modelling as users of transformers have it: BertForMaskedLM, its collator, its Trainer."""

import tempfile
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DataCollatorForLanguageModeling,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from variants import HELD_OUT, Clock, trained_numbers

from selfray.corpus.manifest import Manifest
from selfray.encoders.bert import SHAPES
from selfray.evaluation.features import load
from selfray.parts.words import first_deviation
from selfray.train import build
from selfray.views.random import sample_keys

if TYPE_CHECKING:
    from beside import Task


class Rows(Dataset):
    """Lists of token ids in memory."""

    def __init__(self, rows: list[list[int]]):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return {"input_ids": self.rows[index]}


class Counted(DataCollatorForLanguageModeling):
    """The collator, which notes how many tokens of the batch are no padding."""

    def torch_call(self, examples: list[Any]) -> dict[str, Any]:
        """A batch."""
        self.sizes = sum(len(one["input_ids"]) for one in examples)
        batch: dict[str, Any] = super().torch_call(examples)
        self.share = self.sizes / batch["input_ids"].numel()
        return batch


class Timed(TrainerCallback):
    """Tells the clock of each step that ends; the loader makes batches in this process, just before they are used."""

    def __init__(self, clock: Clock, collator: Counted):
        self.clock, self.collator, self.shares = clock, collator, list[float]()

    def on_step_end(self, *ignored: Any, **more: Any) -> None:
        """Count a step."""
        self.clock.step(self.collator.sizes)
        self.shares.append(self.collator.share)


def train(task: "Task", one: Any, packed: bool) -> dict[str, Any]:
    """Rate, share of useful tokens, trained numbers and held-out loss."""
    folder = Path(task.corpus)
    manifest = Manifest.read(folder / "packed")
    tokenizer = special(folder / "packed" / "tokenizer.json")
    rows = packed_rows(folder, manifest) if packed else paragraphs(folder, tokenizer, manifest.shape[0])
    torch.manual_seed(task.seed)
    torch.set_num_threads(task.threads)
    width, depth, heads = SHAPES[task.shape]
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=manifest.facts["vocabulary"],
            hidden_size=width,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            max_position_embeddings=manifest.shape[0],
            pad_token_id=manifest.facts["pad"],
            initializer_range=first_deviation(width),
        )
    )
    collator = Counted(tokenizer=tokenizer, mlm_probability=0.15)
    timed = Timed(Clock(task.row), collator)
    with tempfile.TemporaryDirectory() as output:
        settings = TrainingArguments(
            output_dir=output,
            per_device_train_batch_size=task.batch,
            max_steps=task.steps,
            learning_rate=1e-3,
            weight_decay=0.01,
            warmup_steps=task.steps // 10,
            lr_scheduler_type="cosine",
            bf16=task.precision == "bf16",
            use_cpu=True,
            seed=task.seed,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_steps=task.row,
            dataloader_drop_last=True,
        )
        Trainer(model, settings, data_collator=collator, train_dataset=Rows(rows), callbacks=[timed]).train()
    return {
        "rate": timed.clock.rate,
        "useful": mean(timed.shares),
        "parameters": trained_numbers(model),
        "loss": held_out_loss(one, model.eval(), manifest),
    }


def special(file: Path) -> PreTrainedTokenizerFast:
    """The corpus's tokenizer as transformers has them."""
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(tokenizer_file=str(file), **names)


def packed_rows(folder: Path, manifest: Manifest) -> list[list[int]]:
    """The rows that selfray trains on."""
    pad = manifest.facts["pad"]
    return [row[row != pad].tolist() for row in load(folder / "packed", "train", 10**6).data]


def paragraphs(folder: Path, tokenizer: PreTrainedTokenizerFast, length: int) -> list[list[int]]:
    """A row a paragraph: [CLS] text [SEP]."""
    lines = (folder / "paragraphs.txt").read_text(encoding="utf-8").splitlines()
    found = tokenizer(lines, add_special_tokens=False, truncation=True, max_length=length - 2)["input_ids"]
    return [[tokenizer.cls_token_id, *ids, tokenizer.sep_token_id] for ids in found]


def held_out_loss(one: Any, model: BertForMaskedLM, manifest: Manifest) -> float:
    """At the places that selfray's held-out loss is of; documents of a packed row see each other, as in training."""
    test, losses = load(Path(one.corpus.path), "test", HELD_OUT), list[Tensor]()
    views = build.views(one.pretrain, manifest.facts)
    with torch.inference_mode():
        for at in range(0, len(test.ids), 64):
            keys = sample_keys(torch.from_numpy(test.ids[at : at + 64]), 0, 0)
            seen = views.make("masked", torch.tensor(test.data[at : at + 64]), keys)
            tokens, places, real = seen["tokens"], seen["places"], seen["real"]
            said = model(input_ids=tokens, attention_mask=(tokens != manifest.facts["pad"]).long()).logits
            there = said.gather(1, places[..., None].expand(-1, -1, said.shape[-1]))
            losses.append(cross_entropy(there[real], seen["target"].gather(1, places)[real]))
    return float(torch.stack(losses).mean())
