"""The text encoder, which learns to read as the teacher does, with CLIP's own vocabulary."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass
from itertools import groupby

import open_clip
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import (
    cosine_similarity,
    cross_entropy,
    embedding,
    embedding_bag,
    layer_norm,
    linear,
    log_softmax,
    normalize,
    scaled_dot_product_attention,
)

from .folder import MODEL
from .split import misspelt, nonsense_word, unaccented
from .teacher import (
    CAPTION_SHARE,
    NAME_SHARE,
    PHRASE_SHARE,
    SCENE_DIM,
    Teacher,
    follow,
    log,
    set_rate,
)
from .texts import Texts

LIKENESS_SCALE = 20.0  # inverse temperature of the similarities that the student copies
NAME_SCALE = 30.0
PHOTO_SCALE = 25.0
ENGLISH = ("{}", "a {}", "the {}", "{}s", "a photo of a {}", "a photo of {}", "a picture of the {}")
SPANISH = ("{}", "un {}", "una {}", "el {}", "la {}", "una foto de un {}", "una foto de una {}")
# Shares of a batch. Photos give two captions each.
PHOTOS, LOOSE, FRAGMENTS, WORDS, THINGS = 0.06, 0.025, 0.025, 0.115, 0.255
NAMES, OTHERS, SPANISH_NAMES, SPANISH_TEXTS, PARTS, NONSENSE = 0.185, 0.01, 0.125, 0.1, 0.05, 0.01
# Names and words are short, so many are cheap; what is no name counts as much as this many.
SENTENCE_WEIGHT = 2.6
TYPOS = 0.1  # share of class names, Spanish and common words with a typing error
FIT_STEPS = 40
HARDER_EVERY = 400  # steps, then things that are read badly are drawn more often
FELT = 4.0  # weight, at the end, of errors in the directions in which photos differ


class Reader:
    """Reads texts with open_clip's text encoder, a few at a time: their values fit the cache."""

    def __init__(self, tower: nn.Module) -> None:
        self.tower = tower
        text = MODEL["model_cfg"]["text_cfg"]
        self.tokenizer = open_clip.SimpleTokenizer(
            context_length=text["context_length"], **text["tokenizer_kwargs"]
        )
        self.seen: dict[str, list[int]] = {}
        self.device = tower.positional_embedding.device
        on_cpu = self.device.type == "cpu"
        self.half = not on_cpu  # AVX512_BF16 without AMX takes 1.4 times as long as float32
        self.chunk = 256 if on_cpu else 1024

    def tokens(self, text: str) -> list[int]:
        """Token numbers of one text, start and end included."""
        if text not in self.seen:
            room = self.tokenizer.context_length - 2
            inner = self.tokenizer.encode(text)[:room]
            self.seen[text] = [self.tokenizer.sot_token_id, *inner, self.tokenizer.eot_token_id]
        return self.seen[text]

    def __call__(self, texts: list[str]) -> Tensor:
        """Unit vectors [n, dim]."""
        ids = [self.tokens(text) for text in texts]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        done: list[Tensor] = []
        for start in range(0, len(order), self.chunk):
            part = [ids[i] for i in order[start : start + self.chunk]]
            half = torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)
            # Flash attention takes a fifth of a step for texts of so few tokens.
            with half, sdpa_kernel(SDPBackend.MATH):
                vectors = encode(self.tower, part)
            done.append(normalize(vectors.float(), dim=-1))
        return torch.cat(done)[torch.tensor(order).argsort()]


def encode(tower: nn.Module, texts: list[list[int]]) -> Tensor:
    """What the tower makes of texts, [n, dim], faster than by itself.

    The texts lie end to end, without padding: only attention needs to know them apart, and takes
    those of one length together. The last block is computed for the end marks alone, from which the
    vector is taken. A training step takes 2.4 s instead of 3.5 on two cores with AVX2.

    Args:
        tower: open_clip's text encoder.
        texts: Token numbers with both marks, sorted by their length.
    """
    lengths = [len(ids) for ids in texts]
    runs = [(length, len(list(same))) for length, same in groupby(lengths)]
    ends = torch.tensor(lengths).cumsum(0) - 1
    places = torch.cat([torch.arange(length) for length in lengths])
    x = tower.token_embedding(torch.tensor([number for ids in texts for number in ids]))
    # Indexing would add up its gradients in any order, and no run were like another.
    x = x + embedding(places, tower.positional_embedding)  # [all tokens, width]
    blocks = tower.transformer.resblocks
    for block in blocks:
        last, heads, width = block is blocks[-1], block.attn.num_heads, x.shape[1]
        weight, bias = block.attn.in_proj_weight, block.attn.in_proj_bias
        asking = seen = block.ln_1(x)
        if last:
            x, asking = x[ends], seen[ends]
        sizes = [(n, 1 if last else length, length) for length, n in runs]
        q = linear(asking, weight[:width], bias[:width]).split([n * m for n, m, _ in sizes])
        kv = linear(seen, weight[width:], bias[width:]).split([n * m for n, _, m in sizes])
        heard = [
            scaled_dot_product_attention(
                question.view(n, asked, heads, -1).transpose(1, 2),
                *answer.view(n, length, 2, heads, -1).permute(2, 0, 3, 1, 4),
                is_causal=not last,
            )
            .transpose(1, 2)
            .reshape(n * asked, width)
            for question, answer, (n, asked, length) in zip(q, kv, sizes, strict=True)
        ]
        x = x + block.attn.out_proj(torch.cat(heard))
        x = x + block.mlp(block.ln_2(x))
    return tower.ln_final(x) @ tower.text_projection


@torch.no_grad()
def start_as_bag_of_words(tower: nn.Module, reader: Reader, texts: Texts, teacher: Teacher) -> None:
    """Begins as the mean of the tokens' meanings, so that only word order is left to learn.

    Every token that is a word gets the teacher's vector of that word in fewer dimensions; the
    first block passes the mean of all tokens on to the end token, and the output turns it back.
    """
    words = list(dict.fromkeys([*texts.words, *texts.tokens, *texts.things]))
    meaning = teacher.texts(texts, words, torch.tensor(PHRASE_SHARE))
    width = tower.token_embedding.embedding_dim
    axes = torch.linalg.svd(meaning[::3], full_matrices=False)[2][:width]  # mean not removed
    small = meaning @ axes.T
    small *= 0.05 / small.std()
    row = {word: i for i, word in enumerate(words)}
    nn.init.normal_(tower.token_embedding.weight, std=0.01)
    tokenizer = reader.tokenizer
    marks = (tokenizer.sot_token_id, tokenizer.eot_token_id)
    for token, number in tokenizer.encoder.items():
        letters = bytes(tokenizer.byte_decoder[c] for c in token.removesuffix("</w>"))
        word = unaccented(letters.decode("utf-8", errors="ignore"))
        if word in row and number not in marks:
            whole = 1.0 if token.endswith("</w>") else 0.5  # the start of a word says less
            tower.token_embedding.weight[number] = whole * small[row[word]]
    foreign: dict[str, str] = {}
    for text, english in (*texts.spanish, *((t, texts.names[i]) for t, i in texts.spanish_names)):
        for form in (text, unaccented(text)):
            if form not in row:
                foreign.setdefault(form, english)
    translated = teacher.texts(texts, [*foreign.values()], torch.tensor(PHRASE_SHARE))
    wanted = normalize(torch.cat([small, translated @ axes.T]), dim=1)
    known = [reader.tokens(text) for text in (*words, *foreign)]
    fit_tokens(tower.token_embedding.weight, known, wanted)
    blocks = tower.transformer.resblocks
    for block in blocks:
        block.attn.out_proj.weight *= 0.2
        block.mlp.c_proj.weight *= 0.2
    first, eye = blocks[0].attn, torch.eye(width)
    first.in_proj_weight[2 * width :].mul_(0.1).add_(eye)
    first.out_proj.weight.mul_(0.1).add_(eye)
    tower.text_projection.copy_(axes / width**0.5)


def fit_tokens(table: Tensor, texts: list[list[int]], wanted: Tensor) -> None:
    """Moves the vectors of tokens, so that their mean over a text points where it should.

    Words of several tokens have a meaning from the start as well.

    Args:
        table: [vocabulary, width], changed in place.
        texts: Token numbers with both marks.
        wanted: Unit vectors [len(texts), width].
    """
    inner = [ids[1:-1] or ids[:1] for ids in texts]
    flat = torch.tensor([number for ids in inner for number in ids])
    starts = torch.tensor([0, *(len(ids) for ids in inner[:-1])]).cumsum(0)
    fitted = nn.Parameter(table.clone())
    optimizer = torch.optim.Adam([fitted], lr=0.01)
    with torch.enable_grad():
        for _ in range(FIT_STEPS):
            means = embedding_bag(flat, layer_norm(fitted, fitted.shape[1:]), starts, mode="mean")
            loss = 1 - cosine_similarity(means, wanted).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    table.copy_(fitted)
    log(f"tokens fitted: cosine {1 - loss.item():.3f}")


@dataclass
class Batch:
    """Texts in the order: captions with a photo, others with a meaning, nonsense."""

    texts: list[str]
    wanted: Tensor  # [n, dim]
    photo: Tensor  # [captions] row of the photo that each of the first texts describes
    name: Tensor  # [n] ImageNet class of a class name, -1 for other texts
    weight: Tensor  # [n], sum 1
    sense: int  # how many texts mean something


class Draw:
    """Draws batches of texts."""

    def __init__(self, texts: Texts, teacher: Teacher, photos: Tensor, seed: int) -> None:
        self.texts, self.teacher, self.rng = texts, teacher, random.Random(seed)
        self.paths = list(texts.captions)
        self.nothing = -normalize(photos.mean(0), dim=0)  # where nonsense goes: far from photos
        self.often = [1.0] * len(texts.things)

    def __call__(self, n: int) -> Batch:
        """About `n` texts."""
        rng, stuff = self.rng, self.texts
        rows: list[tuple[str, str, float, int]] = []  # text, what it means, share, class
        photos = rng.sample(range(len(self.paths)), int(PHOTOS * n))
        for photo in photos:
            described = rng.sample(stuff.captions[self.paths[photo]], 2)
            rows += [(c, c, CAPTION_SHARE, -1) for c in described]
        rows += [(c, c, CAPTION_SHARE, -1) for c in rng.sample(stuff.loose, int(LOOSE * n))]
        rows += [(c, c, PHRASE_SHARE, -1) for c in rng.sample(stuff.fragments, int(FRAGMENTS * n))]
        sentences = len(rows)
        for i in rng.choices(range(len(stuff.names)), k=int(NAMES * n)):
            template = rng.choice(stuff.templates if rng.random() < 0.5 else ENGLISH)
            rows.append((template.format(stuff.names[i]), stuff.names[i], NAME_SHARE, i))
        for name in rng.choices(stuff.others, k=int(OTHERS * n)):
            rows.append((rng.choice(ENGLISH).format(name), name, NAME_SHARE, -1))
        for name, i in rng.choices(stuff.spanish_names, k=int(SPANISH_NAMES * n)):
            template = rng.choice(stuff.spanish_templates if rng.random() < 0.4 else SPANISH)
            rows.append((self.bare(template.format(name)), stuff.names[i], NAME_SHARE, i))
        for text, meaning in rng.choices(stuff.spanish, k=int(SPANISH_TEXTS * n)):
            share = PHRASE_SHARE if " " in meaning else NAME_SHARE
            rows.append((self.bare(text), meaning, share, -1))
        for word in rng.choices(stuff.words, k=int(WORDS * n)):
            rows.append((self.phrase(word), word, NAME_SHARE, -1))
        rows[sentences:] = [(self.typed(text), *rest) for text, *rest in rows[sentences:]]
        things = rng.choices(stuff.things, weights=self.often, k=int(THINGS * n))
        pairs = rng.choices(stuff.parts, k=int(PARTS * n / 2))
        for word in (*things, *(part for pair in pairs for part in pair)):
            rows.append((self.phrase(word), word, NAME_SHARE, -1))
        noise = [self.nonsense() for _ in range(int(NONSENSE * n))]
        called, meant, share, classes = zip(*rows, strict=True)
        weight = torch.full((len(rows) + len(noise),), SENTENCE_WEIGHT)
        weight[sentences : len(rows)] = 1
        wanted = self.teacher.texts(stuff, meant, torch.tensor(share))
        return Batch(
            texts=[*called, *noise],
            wanted=torch.cat([wanted, self.nothing.expand(len(noise), -1)]),
            photo=torch.tensor(photos).repeat_interleave(2),
            name=torch.tensor([*classes, *[-1] * len(noise)]),
            weight=weight / weight.sum(),
            sense=len(rows),
        )

    def phrase(self, noun: str) -> str:
        """The noun, or a few words with it."""
        return ("{}" if self.rng.random() < 0.6 else self.rng.choice(ENGLISH)).format(noun)

    def typed(self, text: str) -> str:
        """The text, at times with a typing error."""
        return misspelt(text, self.rng) if self.rng.random() < TYPOS else text

    def bare(self, text: str) -> str:
        """The text, perhaps without its accents: many people type none."""
        return unaccented(text) if self.rng.random() < 0.4 else text

    def nonsense(self) -> str:
        """A few made-up words."""
        text = " ".join(nonsense_word(self.rng) for _ in range(self.rng.randint(1, 3)))
        return self.rng.choice(ENGLISH).format(text) if self.rng.random() < 0.2 else text


def scene_length(z: Tensor) -> Tensor:
    """Length [n] of the scene part: the root of its share."""
    return z[:, :SCENE_DIM].norm(dim=1)


def likeness(z: Tensor, wanted: Tensor, others: Tensor) -> Tensor:
    """Cross-entropy [n] of the student's similarities to `others` with the teacher's.

    Relational distillation in the manner of Park et al. (2019).
    """
    soft = torch.softmax(LIKENESS_SCALE * wanted @ others.T, dim=-1)
    log_p = log_softmax(LIKENESS_SCALE * z @ others.T, dim=-1)
    return (soft * (soft.clamp(min=1e-9).log() - log_p)).sum(1)


def adam(tower: nn.Module) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, 2019); only matrices decay, tokens learn faster."""
    table = tower.token_embedding.weight
    matrices = [p for n, p in tower.transformer.named_parameters() if p.ndim == 2]
    chosen = {id(p) for p in (table, *matrices)}
    flat = [p for p in tower.parameters() if id(p) not in chosen]
    groups = [
        {"params": matrices, "lr": 1.5e-3, "weight_decay": 0.05},
        {"params": [table], "lr": 3e-3, "weight_decay": 0.0},
        {"params": flat, "lr": 1.5e-3, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)


def train_student(
    texts: Texts,
    teacher: Teacher,
    photos: Tensor,
    spread: Tensor,
    *,
    steps: int,
    size: int,
    seed: int,
) -> nn.Module:
    """Trains open_clip's text encoder and returns the running average of its weights.

    The image side is ready and stays as it is (locked-image tuning, Zhai et al., 2022).

    Args:
        texts: What to read.
        teacher: Says what each text means in the joint space.
        photos: Vectors [n, dim] of the captioned photos, in the order of `texts.captions`.
        spread: How photos lie in the space [dim, dim], see `photo_spread`.
        steps: Batches.
        size: Texts in a batch.
        seed: Of everything random.
    """
    torch.manual_seed(seed)
    tower = open_clip.transformer.TextTransformer(
        output_dim=MODEL["model_cfg"]["embed_dim"],
        **{k: v for k, v in MODEL["model_cfg"]["text_cfg"].items() if k != "tokenizer_kwargs"},
    )
    reader, draw = Reader(tower), Draw(texts, teacher, photos, seed)
    start_as_bag_of_words(tower, reader, texts, teacher)
    average = copy.deepcopy(tower)
    tower.token_embedding.sparse = True  # else each chunk fills a gradient of the whole table
    table = tower.token_embedding.weight
    names, things = (
        teacher.texts(texts, nouns, torch.tensor(NAME_SHARE))
        for nouns in (texts.names, texts.things)
    )
    optimizer = adam(tower)
    for step in range(steps):
        set_rate(optimizer, step, steps, warm=40)
        batch = draw(size)
        z = reader(batch.texts)
        said, wanted = z[: batch.sense], batch.wanted[: batch.sense]
        weight = batch.weight[: batch.sense]
        copied = 1 - batch.weight @ (z * batch.wanted).sum(1)
        felt = batch.weight @ ((z - batch.wanted) @ spread).square().sum(1)
        shared = batch.weight @ (scene_length(z) - scene_length(batch.wanted)).square()
        near = batch.weight @ (z[:, -1] - batch.wanted[:, -1]).square()  # see `nearness`
        alike = weight @ (likeness(said, wanted, wanted) + likeness(said, wanted, names))
        shown = PHOTO_SCALE * z[: len(batch.photo)] @ photos.T
        matched = cross_entropy(shown, batch.photo)
        called = batch.name >= 0
        naming = cross_entropy(NAME_SCALE * z[called] @ names.T, batch.name[called])
        loss = 4 * (copied + near) + 8 * shared + FELT * step / steps * felt
        loss = loss + alike + 0.2 * matched + 0.3 * naming
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        table.grad = table.grad.to_dense()
        nn.utils.clip_grad_norm_(tower.parameters(), 5.0)
        optimizer.step()
        follow(average, tower, min(0.99, (step + 1) / (step + 10)))
        if step % HARDER_EVERY == HARDER_EVERY - 1:
            with torch.no_grad():
                right = (Reader(average)(texts.things) * things).sum(1)
            draw.often = (1.02 - right).tolist()  # what is read well is drawn at times as well
            log(f"things: cosine {right.mean().item():.3f}")
        if step % 25 == 0:
            log(
                f"student {step}: cosine {1 - copied.item():.3f} felt {felt.item():.3f} "
                f"scenes off {shared.sqrt().item():.3f} nearness off {near.sqrt().item():.3f} "
                f"likeness {alike.item():.3f} photos {matched.item():.3f} "
                f"names {naming.item():.3f}"
            )
    return average.eval()
