"""What Label Studio's answers must hold, as far as it is read here.

It is looked at where an answer arrives, so that nobody behind it meets a list where an object
belongs: a proxy's page, another version or another program at that address is an answer that
cannot be used, which is waited out as such, and not a fault of whoever reads it.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True)


class _Numbered(_Strict):
    id: int


class _Titled(_Numbered):
    title: str


class _Prediction(_Numbered):
    model_version: str | None = None


class _Annotation(_Numbered):
    task: int
    parent_prediction: int | None = None


class _Backend(_Titled):
    url: str


class _Count(_Strict):
    model_version: str | None
    count: int


class _Versions(_Strict):
    static: list[_Count]
    live: list[_Backend] | None


class _Told(_Strict):
    versions: list[Any] | None = None


class _Webhook(_Numbered):
    url: str
    headers: dict[str, Any] | None = None


class _Projects(_Strict):
    results: list[_Numbered]


class _Tasks(_Strict):
    tasks: list[_Numbered]
    total: int


class _Created(_Strict):
    created: int


ANYTHING = TypeAdapter(Any)
OBJECT = TypeAdapter(dict[str, Any])
PREDICTION = TypeAdapter(_Prediction)
PREDICTIONS = TypeAdapter(list[_Prediction])
ANNOTATION = TypeAdapter(_Annotation)
ANNOTATIONS = TypeAdapter(list[_Annotation])
PROJECT = TypeAdapter(_Numbered)
PROJECTS = TypeAdapter(_Projects)
TASKS = TypeAdapter(_Tasks)
VERSIONS = TypeAdapter(_Versions)
TOLD_VERSIONS = TypeAdapter(_Told)
WEBHOOKS = TypeAdapter(list[_Webhook])
CREATED = TypeAdapter(_Created)


def misfit(answer: Any, shape: TypeAdapter[Any]) -> str:
    """Where an answer is not what it must be, and why; empty when it is.

    Args:
        answer: decoded JSON.
        shape: one of this module's.
    """
    try:
        shape.validate_python(answer)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "the answer"
        return f"{where}: {first['msg']}"
    return ""
