"""The teacher: the joint space that the finished model lives in, with MiniLM as its reader.

Three parts side by side. *Scenes* is learned from captioned photos with InfoNCE (van den Oord et
al., 2018; both ways as in CLIP, Radford et al., 2021), several positives a photo as in SupCon
(Khosla et al., 2020). *Looks* foretells from a meaning what the weights of the image encoder's
ImageNet classifier would be, had it this class, by kernel ridge regression from the 1,000 that it
has (an exemplar as in Changpinyo et al., 2017). *Concepts* is ConSE (Norouzi et al., 2014): a photo
is the expectation of the class names' meanings under the tower's own ImageNet probabilities.
"""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, normalize

from clipsearch.encoders.minitower import CONCEPT_DIM, LOOKS_DIM

from .folder import MODEL
from .split import Split
from .texts import Texts

TEMPERATURE = 1.2  # of the ImageNet probabilities
# Share of the scene part in a squared length. Captions speak of scenes, names of kinds; a text in
# between, such as "a brown dog", lies between.
PHOTO_SHARE, CAPTION_SHARE, PHRASE_SHARE, NAME_SHARE = 0.4, 0.75, 0.5, 0.04
LOOKS_SHARE = 0.4  # in what scenes leave
SCENE_DIM = MODEL["model_cfg"]["embed_dim"] - LOOKS_DIM - CONCEPT_DIM
FEATURE_DROPOUT = 0.5  # 5,500 photos are few: without it R@10 of unseen ones is 10 points lower
CAPTIONED, NAMED, IMAGINED = 560, 60, 60  # photos in a batch
CONSTANT = 0.25  # a coordinate of all concepts; more of it counts in photos that are uncertain
# In the image encoder that is shipped scenes and looks count less, and the constant more: the text
# tower's names are found better by it (tables in the model card).
SHIPPED_SCENES, SHIPPED_LOOKS, SHIPPED_CONSTANT = 0.3, 0.3, 0.4
KERNEL, RIDGE = 3.0, 0.03  # of looks: sharpness of the kernel, regularisation
_NEAREST = 5
_START = time.time()


def log(message: str) -> None:
    """One line of progress with the minutes so far."""
    print(f"[{(time.time() - _START) / 60:5.1f} min] {message}", flush=True)


class Teacher(nn.Module):
    """Photos and meanings in the joint space.

    Args:
        texts: Whose class names become the concepts.
        features: [n, 2560] of the training photos, for their mean and spread.
        classifier: Weight [1000, 1280] and bias [1000] of the image encoder's ImageNet layer.
    """

    def __init__(self, texts: Texts, features: Tensor, classifier: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.center, self.spread = features.mean(0), features.std(0) + 1e-3 * features.std()
        self.image = nn.Linear(features.shape[1], SCENE_DIM)
        self.text = nn.Linear(384, SCENE_DIM)
        layers = (nn.Linear(384, 768), nn.GELU(), nn.Dropout(0.2), nn.Linear(768, SCENE_DIM))
        self.more = nn.Sequential(*layers)
        self.scale = nn.Parameter(torch.tensor(3.0))
        self.weight, self.bias = classifier
        names = texts.meaning(texts.names)
        self.origin = names.mean(0)
        concepts = normalize(names - self.origin, dim=-1)
        some = normalize(texts.meaning(texts.loose[:8000]) - self.origin, dim=-1)
        both = torch.cat([concepts, 0.3 * some])
        self.basis = torch.linalg.svd(both, full_matrices=False)[2][: CONCEPT_DIM - 1].T
        concepts = normalize(concepts @ self.basis, dim=-1)
        self.usual = nearness(concepts, concepts).mean()
        constant = torch.full((len(concepts), 1), CONSTANT)
        self.concepts = torch.cat([concepts, constant], 1)  # [1000, CONCEPT_DIM]
        ways = normalize(self.weight - self.weight.mean(0), dim=-1)
        self.axes = torch.linalg.svd(ways, full_matrices=False)[2][:LOOKS_DIM].T
        self.known = names
        ridge = RIDGE * torch.eye(len(ways))
        self.exemplars = torch.linalg.solve(kernel(names, names) + ridge, ways @ self.axes)

    def scene(self, x: Tensor) -> Tensor:
        """Scene part of photos [n, SCENE_DIM], unit length."""
        x = dropout((x - self.center) / self.spread, FEATURE_DROPOUT, self.training)
        return normalize(self.image(x), dim=-1)

    def scene_text(self, said: Tensor) -> Tensor:
        """Scene part of texts [n, SCENE_DIM], unit length."""
        return normalize(self.text(said) + self.more(said), dim=-1)

    @torch.no_grad()
    def photos(self, x: Tensor) -> Tensor:
        """Unit vectors [n, dim] of features."""
        logits = x[:, :1280] @ self.weight.T + self.bias
        concepts = torch.softmax(logits / TEMPERATURE, dim=-1) @ self.concepts
        looks = (x - self.center)[:, :1280] @ self.axes
        return joined((self.scene(x), looks, concepts), torch.tensor(PHOTO_SHARE))

    @torch.no_grad()
    def texts(self, texts: Texts, chosen: Sequence[str], share: Tensor) -> Tensor:
        """Unit vectors [n, dim] of the chosen texts; `share` ([n] or one number) is scene."""
        meaning = texts.meaning(chosen)
        looks = kernel(meaning, self.known) @ self.exemplars
        concepts = normalize((meaning - self.origin) @ self.basis, dim=-1)
        near = nearness(concepts, self.concepts[:, :-1]) - self.usual
        concepts = torch.cat([concepts, -near[:, None]], 1)
        return joined((self.scene_text(texts.said(chosen)), looks, concepts), share)

    @torch.no_grad()
    def write_into(self, tower: nn.Module) -> None:
        """Fills the heads of the image encoder that is shipped."""
        tower.classes.weight.copy_(self.weight / TEMPERATURE)
        tower.classes.bias.copy_(self.bias / TEMPERATURE)
        tower.concepts.weight.copy_(self.concepts.T)
        tower.concepts.weight[-1] = SHIPPED_CONSTANT
        tower.looks.weight.copy_(self.axes.T)
        tower.looks.bias.copy_(-self.center[:1280] @ self.axes)
        into = self.image.weight / self.spread
        tower.scenes.weight.copy_(into)
        tower.scenes.bias.copy_(self.image.bias - into @ self.center)
        tower.balance.copy_(shares(torch.tensor(SHIPPED_SCENES), SHIPPED_LOOKS).flatten())


def shares(scene: Tensor, looks: float = LOOKS_SHARE) -> Tensor:
    """Shares [n, 3] of scenes, looks and concepts in a squared length.

    Args:
        scene: Share of scenes, [n] or one number.
        looks: Share of looks in the rest.
    """
    rest = 1 - scene.reshape(-1)
    return torch.stack([1 - rest, looks * rest, (1 - looks) * rest], 1)


def joined(parts: tuple[Tensor, Tensor, Tensor], scene: Tensor) -> Tensor:
    """Unit vectors [n, dim] of scenes, looks and concepts, weighted by their `shares`."""
    weights = shares(scene).sqrt()
    return torch.cat([weights[:, i, None] * normalize(x, dim=-1) for i, x in enumerate(parts)], 1)


def kernel(a: Tensor, b: Tensor) -> Tensor:
    """Gaussian kernel [n, m] of unit vectors."""
    return torch.exp(KERNEL * (a @ b.T - 1))


def nearness(texts: Tensor, concepts: Tensor) -> Tensor:
    """Mean cosine [n] of texts with their nearest concepts.

    Texts near many concepts are near too many photos: the hubs of cross-domain similarity local
    scaling (Conneau et al., 2018). Their scores are lowered by it: it is negative in the coordinate
    that is constant in all concepts.
    """
    return (texts @ concepts.T).topk(_NEAREST, dim=-1).values.mean(-1)


class Imagined:
    """Features of photos that nobody took: real ones, moved until ImageNet's classifier is sure.

    Its 1,000 classes, of which no photo is at hand, so have their place among the scenes as well.

    Args:
        features: [n, 2560] of real photos, mean and maximum of the maps.
        classifier: Weight [1000, 1280] and bias [1000], for means.
    """

    def __init__(self, features: Tensor, classifier: tuple[Tensor, Tensor]) -> None:
        self.weight, self.bias = classifier
        self.means, peaks = features.split(features.shape[1] // 2, dim=1)
        self.mean, self.peak = self.means.mean(0), peaks.mean(0)
        x = self.means - self.mean
        ridge = 0.01 * len(x) * x.var() * torch.eye(x.shape[1])
        self.to_peaks = torch.linalg.solve(x.T @ x + ridge, x.T @ (peaks - self.peak))

    def __call__(self, rows: list[int], classes: list[int]) -> Tensor:
        """[n, 2560]: the photo of each row, faded, with the thing of each class in it."""
        x = self.mean + 0.7 * (self.means[rows] - self.mean)
        logits = x @ self.weight.T + self.bias
        wanted = logits.gather(1, torch.tensor(classes)[:, None])
        missing = (logits.max(1, keepdim=True).values + 8 - wanted).clamp(min=0)
        way = (self.weight - self.weight.mean(0))[classes]
        x = (x + missing * way / way.square().sum(1, keepdim=True)).clamp(min=0)  # as after a ReLU
        return torch.cat([x, self.peak + (x - self.mean) @ self.to_peaks], 1)


@torch.no_grad()
def photo_spread(teacher: Teacher, features: Tensor) -> Tensor:
    """How photos lie in the joint space: the square root of their second moment [dim, dim].

    Photos of the classes of which there are none are imagined. It is scaled so that a vector times
    it is as long as before, on average over all directions, and longer where photos differ.
    """
    imagine, rng = Imagined(features, (teacher.weight, teacher.bias)), random.Random(0)
    classes = [*range(len(teacher.weight))] * 3
    rows = [rng.randrange(len(features)) for _ in classes]
    photos = teacher.photos(torch.cat([features, imagine(rows, classes)]))
    values, axes = torch.linalg.eigh(photos.T @ photos)
    return axes * (values.clamp(min=0) / values.mean()).sqrt()


def contrast(photos: Tensor, texts: Tensor, i: Tensor, j: Tensor, scale: Tensor) -> Tensor:
    """InfoNCE both ways; a photo and a text belong together where their owners `i`, `j` agree."""
    scores = scale.exp().clamp(max=100) * photos @ texts.T
    own = scores.masked_fill(i[:, None] != j[None], -1e4)
    return sum((scores.logsumexp(d) - own.logsumexp(d)).mean() for d in (0, 1)) / 2


def train_teacher(
    teacher: Teacher,
    texts: Texts,
    split: Split,
    features: Tensor,
    row: dict[str, int],
    *,
    steps: int,
    seed: int,
) -> Teacher:
    """Learns the scene part from captioned, named and imagined photos.

    Returns the running average of the weights.

    Args:
        teacher: To be trained.
        texts: Captions and meanings.
        split: Which photos have names.
        features: [n, 2560] of the training photos.
        row: Photo path to row of `features`.
        steps: Batches.
        seed: Of everything random.
    """
    generator, rng = torch.Generator(features.device).manual_seed(seed), random.Random(seed)
    average = copy.deepcopy(teacher)
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=1e-3, weight_decay=0.2)
    captioned, others = list(texts.captions), split.train["clothing"]
    imagine = Imagined(features, (teacher.weight, teacher.bias))
    codes = {key: i for i, key in enumerate([*captioned, *texts.others, *range(len(texts.names))])}
    for step in range(steps):
        set_rate(optimizer, step, steps, warm=100)
        photos, named = rng.sample(captioned, CAPTIONED), rng.sample(others, NAMED)
        classes = rng.sample(range(len(texts.names)), IMAGINED)
        real = features[[row[path] for path in photos + named]]
        x = torch.cat([real, imagine(rng.sample(range(len(features)), IMAGINED), classes)])
        picked = [c for path in photos for c in rng.sample(texts.captions[path], 2)]
        labels = [split.label[path] for path in named]
        said = texts.said(picked + labels + [texts.names[c] for c in classes])
        said = said + 0.02 * torch.randn(said.shape, generator=generator)
        i = torch.tensor([codes[key] for key in (*photos, *labels, *classes)])
        j = torch.cat([i[:CAPTIONED].repeat_interleave(2), i[CAPTIONED:]])
        loss = contrast(teacher.scene(x), teacher.scene_text(said), i, j, teacher.scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        follow(average, teacher, min(0.99, (step + 1) / (step + 10)))
        if step % 100 == 0:
            log(f"teacher {step}: loss {loss.item():.3f}")
    return average


def set_rate(optimizer: torch.optim.Optimizer, step: int, steps: int, warm: int) -> None:
    """Linear warm-up, then half a cosine (Loshchilov and Hutter, 2017)."""
    rate = min(1, (step + 1) / warm) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))
    for group in optimizer.param_groups:
        group["lr"] = rate * group.setdefault("top", group["lr"])


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, keep: float) -> None:
    """Moves the running average of the weights (Polyak and Juditsky, 1992)."""
    for a, b in zip(average.parameters(), model.parameters(), strict=True):
        a.lerp_(b, 1 - keep)
