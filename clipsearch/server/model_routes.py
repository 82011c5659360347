"""Routes that use the model alone: classify, embed, list models."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Request, UploadFile
from pydantic import AfterValidator, Field, Json
from starlette.responses import JSONResponse, Response

from ..encoder import runtime_of
from ..errors import InvalidInputError
from ..models import list_models
from .schemas import (
    ClassifyDocument,
    EmbedBody,
    EmbedDocument,
    ModelDocument,
    ModelsDocument,
    Text,
    clean,
)
from .service import Engine, public_name
from .settings import ServerSettings
from .uploads import check_form, read_uploads

__all__ = ["router"]

_LIMITS = ServerSettings()

LabelText = Annotated[
    str,
    Field(min_length=1, max_length=_LIMITS.max_label_length, pattern=r"\S"),
    AfterValidator(clean),
]
Images = Annotated[list[UploadFile], File(description="Image files.")]

router = APIRouter(prefix="/v1", tags=["model"])


@router.post("/classify", response_model=ClassifyDocument, dependencies=[Depends(check_form)])
def classify(
    request: Request,
    images: Images,
    labels: Annotated[
        list[LabelText] | None,
        Form(
            max_length=_LIMITS.max_labels,
            description="Names, or 'name: synonym, synonym'; repeat the field for each.",
            examples=[["cat", "dog", "tower: skyscraper, spire"]],
        ),
    ] = None,
    classes: Annotated[
        Json[Annotated[dict[LabelText, list[LabelText]], Field(max_length=_LIMITS.max_labels)]]
        | None,
        Form(
            description="Instead of labels: a JSON object from every name to the words to look "
            "for, which has the name among them where it counts.",
            examples=['{"cat": ["cat", "kitten"], "12:30": ["a clock"]}'],
        ),
    ] = None,
    pack: Annotated[
        UploadFile | None, File(description="A label pack NAME.clip, instead of labels.")
    ] = None,
    template: Annotated[
        list[Text] | None,
        Form(max_length=100, description="openai, simple (the default), none, or sentences."),
    ] = None,
    k: Annotated[int, Form(ge=1, le=_LIMITS.max_k)] = 5,
    multi_label: Annotated[bool, Form(description="Judge each label for itself.")] = False,
    none_of_these: Annotated[bool, Form(description="Say so when no label fits.")] = False,
    threshold: Annotated[
        float | None, Form(ge=0, le=1, description="Give no answer below it.")
    ] = None,
) -> Response:
    """Classify images by labels in plain words, without training.

    curl http://127.0.0.1:7860/v1/classify -F images=@cat.jpg -F labels=cat -F labels=dog
    -F none_of_these=true
    """
    engine: Engine = request.app.state.engine
    if sum((pack is not None, bool(labels), classes is not None)) != 1:
        raise InvalidInputError("give either labels, or classes, or a label pack")
    if threshold is not None and threshold != threshold:
        raise InvalidInputError("the threshold is not a number")
    data = read_uploads(request, images)
    if pack is not None:
        classifier = engine.packed(pack.file.read())
    else:
        chosen: str | list[str] = "simple"
        if template:
            chosen = template[0] if len(template) == 1 else template
        classifier = engine.classifier(labels or classes or {}, chosen)
    predictions = classifier.classify(
        data,
        k=k,
        multi_label=multi_label,
        none_of_these=none_of_these,
        threshold=threshold,
    )
    return JSONResponse(
        {
            "predictions": [[asdict(p) for p in row] for row in predictions],
            "labels": len(classifier.labels),
        }
    )


@router.post("/embed", response_model=EmbedDocument)
def embed(request: Request, body: EmbedBody) -> Response:
    """Turn texts into unit vectors of the joint space.

    curl http://127.0.0.1:7860/v1/embed -H 'Content-Type: application/json'
    -d '{"texts": ["a red bus"]}'
    """
    engine: Engine = request.app.state.engine
    vectors = engine.encoder.encode_texts(body.texts)
    return JSONResponse({"texts": vectors.tolist(), "images": [], **_model(engine)})


@router.post("/embed/image", response_model=EmbedDocument, dependencies=[Depends(check_form)])
def embed_images(request: Request, images: Images) -> Response:
    """Turn images into unit vectors of the joint space.

    curl http://127.0.0.1:7860/v1/embed/image -F images=@cat.jpg
    """
    engine: Engine = request.app.state.engine
    vectors = engine.encoder.encode_images(read_uploads(request, images))
    return JSONResponse({"texts": [], "images": vectors.tolist(), **_model(engine)})


@router.get("/models", response_model=ModelsDocument)
def get_models(request: Request) -> Response:
    """List the model in memory and the recommended ones.

    curl http://127.0.0.1:7860/v1/models
    """
    engine: Engine = request.app.state.engine
    loaded = engine.encoder.name
    facts = [field for field in ModelDocument.model_fields if field not in ("name", "loaded")]
    known = {
        model.name: {
            "name": model.name,
            "loaded": model.name == loaded,
            **{fact: getattr(model, fact) for fact in facts},
        }
        for model in list_models()
    }
    first = known.pop(loaded, {"name": public_name(loaded), "loaded": True})
    return JSONResponse(
        {
            "models": [first, *known.values()],
            "dim": engine.encoder.dim,
            "fingerprint": engine.encoder.fingerprint,
            "runtime": runtime_of(engine.encoder),
        }
    )


def _model(engine: Engine) -> dict[str, Any]:
    return {
        "dim": engine.encoder.dim,
        "model": public_name(engine.encoder.name),
        "fingerprint": engine.encoder.fingerprint,
    }
