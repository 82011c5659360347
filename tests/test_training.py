"""The bundled model's training: how it reads texts (open_clip is the oracle) and misspells them."""

import random

import torch
from open_clip.transformer import TextTransformer


def test_texts_end_to_end_are_read_as_open_clip_reads_each():
    from mini.student import encode

    torch.manual_seed(0)
    tower = TextTransformer(
        context_length=12, vocab_size=50, width=32, heads=4, layers=3, output_dim=16
    ).double()
    first, last = 48, 49
    texts = [[first, *torch.randint(1, 48, (n,)).tolist(), last] for n in (0, 1, 1, 1, 4, 9, 10)]
    padded = torch.tensor([ids + [0] * (12 - len(ids)) for ids in texts])

    gradients = []
    for read in (lambda: encode(tower, texts), lambda: tower(padded)):
        tower.zero_grad()
        vectors = read()
        (vectors**3).sum().backward()
        gradients.append([vectors.detach(), *(p.grad for p in tower.parameters())])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_typing_error_is_one_letter_within_a_longer_word():
    from mini.split import misspelt

    rng = random.Random(0)
    doubled, left_out = {"hoouse", "houuse", "housse"}, {"huse", "hose", "houe"}
    exchanged = {"huose", "hosue", "houes"}
    made = {misspelt("dog house", rng) for _ in range(300)}
    assert made == {f"dog {word}" for word in doubled | left_out | exchanged}
    assert misspelt("a red fox", rng) == "a red fox"
