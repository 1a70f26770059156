"""Faster R-CNN's training step in PyTorch, from the weights of xpnet's, as its users write it.

Autograd takes the gradients. What torchvision would do in C++ and cannot without a GPU's build, RoI
align and the choice among overlapping boxes, is written in the form that is fastest here: two
products of matrices, and one table of overlaps.
"""

import numpy as np
import torch
from torch.nn import functional as F

from xpnet import to_numpy
from xpnet.models.faster_rcnn import OVERLAP, POOLED, STRIDE, WEIGHTS, FasterRCNN
from xpnet.train.joined import (
    ANCHORS,
    BETA,
    BETA_HEAD,
    BOXES,
    FILLED,
    HALF,
    HOLDING,
    INSIDE,
    OUTSIDE,
)

Tensor = torch.Tensor
GROWTH = float(np.log(1000 / 16))


class TorchDetector:
    """The two networks, and a training step.

    Parameters
    ----------
    detector : whose weights are copied
    lr : of Adam
    """

    def __init__(self, detector: FasterRCNN, lr: float = 0.002) -> None:
        self.size, self.candidates = detector.input_shape[1:], detector.candidates
        self.proposals, self.classes = detector.proposals, detector.classes
        self.anchors = torch.from_numpy(to_numpy(detector.anchors).copy())
        self.params = {
            f"{name}.{key}": torch.from_numpy(to_numpy(array).copy()).requires_grad_()
            for name, network in detector.networks.items()
            for key, array in network.params.items()
        }
        self.state = {
            key: torch.from_numpy(to_numpy(array).copy())
            for key, array in detector.networks["rpn"].state.items()
        }
        self.weights = torch.tensor(WEIGHTS, dtype=self.anchors.dtype)
        self.optimizer = torch.optim.Adam(self.params.values(), lr=lr, eps=1e-7)

    def step(self, x: Tensor, objects: Tensor, draws: Tensor) -> dict[str, Tensor]:
        """One update; the losses before it."""
        self.optimizer.zero_grad()
        losses = self.losses(x, objects, draws)
        losses["loss"].backward()
        self.optimizer.step()
        return losses

    def losses(self, x: Tensor, objects: Tensor, draws: Tensor) -> dict[str, Tensor]:
        """The four losses of pictures, and their sum."""
        p, n, count = self.params, len(x), len(self.anchors)
        for k in range(1, 6):
            x = F.conv2d(x, p[f"rpn.conv{k}.W"], padding=1)
            mean, var = (self.state[f"norm{k}.running_{each}"] for each in ("mean", "var"))
            scale, shift = p[f"rpn.norm{k}.gamma"], p[f"rpn.norm{k}.beta"]
            x = F.relu(F.batch_norm(x, mean, var, scale, shift, training=True))
            if k in (2, 4):
                x = F.max_pool2d(x, 2)
        h = F.relu(F.conv2d(x, *self._of("rpn.heads.rpn.conv"), padding=1))
        z = F.conv2d(h, *self._of("rpn.heads.rpn.heads.objectness"))
        d = F.conv2d(h, *self._of("rpn.heads.rpn.heads.deltas"))
        z = z.permute(0, 2, 3, 1).reshape(n, -1)
        d = d.reshape(n, -1, 4, *d.shape[2:]).permute(0, 3, 4, 1, 2).reshape(n, -1, 4)
        with torch.no_grad():
            drawn, holding, wanted = self._anchors(objects, draws[:, :count])
            boxes, there, filled, classes, moves = self._boxes(z, d, objects, draws[:, count:])
        terms = F.binary_cross_entropy_with_logits(z, holding.to(z.dtype), reduction="none")
        of_boxes = F.smooth_l1_loss(d, wanted, reduction="none", beta=BETA)
        pooled = self._pooled(x, boxes).flatten(1)
        h = F.relu(torch.addmm(p["head.affine.b"], pooled, p["head.affine.W"]))
        scores, deltas = (
            torch.addmm(p[f"head.heads.{each}.b"], h, p[f"head.heads.{each}.W"])
            for each in ("scores", "deltas")
        )
        own = F.cross_entropy(scores, classes.flatten(), reduction="none")
        mended = F.smooth_l1_loss(deltas, moves.flatten(0, 1), reduction="none", beta=BETA_HEAD)
        m = there.sum()
        losses = {
            "rpn_objectness": (terms * drawn).sum() / (ANCHORS * n),
            "rpn_boxes": (of_boxes * holding[..., None]).sum() / (ANCHORS * n),
            "class": (own * there.flatten()).sum() / m,
            "boxes": (mended * filled.flatten()[:, None]).sum() / m,
        }
        return {"loss": sum(losses.values()), **losses}

    def _of(self, name: str) -> tuple[Tensor, Tensor]:
        return self.params[f"{name}.W"], self.params[f"{name}.b"]

    def _anchors(self, objects: Tensor, draws: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the first network learns from."""
        boxes, there = _real(objects)
        overlaps = _iou(self.anchors, boxes) * there[:, None]
        highest, own = overlaps.max(dim=2)
        best = ((overlaps == overlaps.amax(dim=1, keepdim=True)) & (overlaps > 0)).any(dim=2)
        holding = (highest >= INSIDE) | best
        empty = (highest < OUTSIDE) & ~holding
        holding = _drawn(holding, draws, torch.full((len(boxes),), HOLDING))
        empty = _drawn(empty, draws, ANCHORS - holding.sum(dim=1))
        return holding | empty, holding, _encode(_of_rows(boxes, own), self.anchors)

    def _boxes(self, z: Tensor, d: Tensor, objects: Tensor, draws: Tensor) -> tuple[Tensor, ...]:
        """What the second network learns from."""
        best = z.argsort(dim=1, descending=True, stable=True)[:, : self.candidates]
        boxes = self._within(_decode(_of_rows(d, best), self.anchors[best]))
        proposed, valid = _kept(boxes, self.proposals)
        real, there = _real(objects)
        boxes, valid = torch.cat([proposed, real], 1), torch.cat([valid, there], 1)
        highest, own = (_iou(boxes, real) * there[:, None]).max(dim=2)
        filled = _drawn(valid & (highest >= HALF), draws, torch.full((len(real),), FILLED))
        empty = _drawn(valid & (highest < HALF), draws, BOXES - filled.sum(dim=1))
        order = (filled.int() * 2 + empty.int()).argsort(dim=1, descending=True, stable=True)
        order = order[:, :BOXES]
        boxes, own, filled = (_of_rows(each, order) for each in (boxes, own, filled))
        there = filled | _of_rows(empty, order)
        classes = torch.where(filled, _of_rows(objects[..., 4], own).long() + 1, 0)
        return boxes, there, filled, classes, _encode(_of_rows(real, own), boxes) * self.weights

    def _within(self, boxes: Tensor) -> Tensor:
        height, width = self.size
        ends = torch.tensor([width, height, width, height], dtype=boxes.dtype)
        return boxes.clamp(min=0).minimum(ends)

    def _pooled(self, x: Tensor, boxes: Tensor) -> Tensor:
        """RoI align, with two samples a bin each way."""
        n, c, rows, columns = x.shape
        b = boxes / STRIDE - 0.5
        down, across = _samples(b[..., 1], b[..., 3], rows), _samples(b[..., 0], b[..., 2], columns)
        y = torch.matmul(down.flatten(1, 2), x.permute(0, 2, 3, 1).reshape(n, rows, -1))
        y = torch.matmul(across.flatten(0, 1)[:, None], y.reshape(-1, POOLED, columns, c))
        return y.permute(0, 3, 1, 2)


def _samples(start: Tensor, end: Tensor, size: int) -> Tensor:
    """What each of 5 bins takes of every row of a map, (N, K, 5, size)."""
    at = (torch.arange(2 * POOLED, dtype=start.dtype) + 0.5) / (2 * POOLED)
    p = start[..., None] + at * (end - start)[..., None]
    inside = (p >= -1) & (p <= size)
    p = p.clamp(0, size - 1)[..., None]
    share = (1 - (p - torch.arange(size, dtype=p.dtype)).abs()).clamp(min=0) * inside[..., None]
    return share.unflatten(2, (POOLED, 2)).mean(dim=3)


def _real(objects: Tensor) -> tuple[Tensor, Tensor]:
    there = objects[..., 4] >= 0
    pixel = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=objects.dtype)
    return torch.where(there[..., None], objects[..., :4], pixel), there


def _of_rows(x: Tensor, places: Tensor) -> Tensor:
    """x[n, places[n, k]]."""
    return x[torch.arange(len(x))[:, None], places]


def _drawn(candidates: Tensor, draws: Tensor, limit: Tensor) -> Tensor:
    keys = torch.where(candidates, draws, float("inf"))
    last = keys.sort(dim=1).values.gather(1, limit[:, None].clamp(1, keys.shape[1]) - 1)
    return candidates & (keys <= last)


def _iou(a: Tensor, b: Tensor) -> Tensor:
    a, b = a[..., :, None, :], b[..., None, :, :]
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(0)
    shared = sides[..., 0] * sides[..., 1]
    areas = [(e[..., 2] - e[..., 0]) * (e[..., 3] - e[..., 1]) for e in (a, b)]
    return shared / (areas[0] + areas[1] - shared)


def _encode(boxes: Tensor, references: Tensor) -> Tensor:
    sizes, of = boxes[..., 2:] - boxes[..., :2], references[..., 2:] - references[..., :2]
    moved = (boxes[..., :2] + sizes / 2 - references[..., :2] - of / 2) / of
    return torch.cat([moved, torch.log(sizes / of)], dim=-1)


def _decode(deltas: Tensor, references: Tensor) -> Tensor:
    of = references[..., 2:] - references[..., :2]
    centres = references[..., :2] + of / 2 + deltas[..., :2] * of
    half = torch.exp(deltas[..., 2:].clamp(max=GROWTH)) * of / 2
    return torch.cat([centres - half, centres + half], dim=-1)


def _kept(boxes: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """The first boxes, by falling score, that no better one overlaps too far."""
    far = (_iou(boxes, boxes) > OVERLAP).numpy()
    found, valid = torch.zeros((len(boxes), limit), dtype=torch.long), []
    for k, row in enumerate(far):
        dropped, kept = np.zeros(len(row), dtype=bool), []
        for j in range(len(row)):
            if not dropped[j]:
                kept.append(j)
                dropped |= row[j]
            if len(kept) == limit:
                break
        found[k, : len(kept)] = torch.tensor(kept)
        valid.append([j < len(kept) for j in range(limit)])
    boxes = _of_rows(boxes, found)
    there = torch.tensor(valid) & (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)
    pixel = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=boxes.dtype)
    return torch.where(there[..., None], boxes, pixel), there
