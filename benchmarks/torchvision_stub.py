"""Import this before torchvision when torch is a CPU build: the wheel's extension loads only where CUDA is."""

import torch

if torch.version.cuda is None:
    LIBRARY = torch.library.Library("torchvision", "DEF")  # kept: the operators vanish with the object
    LIBRARY.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    LIBRARY.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
