"""The constructor signature is the schema: settings, types, bounds and defaults are read from it, and nowhere else."""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from .discovery import nearest


def model(function: Callable[..., Any]) -> type[BaseModel]:
    """A pydantic model of the parameters that have a default; the others are wiring, not settings."""
    target = function.__init__ if inspect.isclass(function) else function
    hints = get_type_hints(target, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints.get(name, Any), parameter.default)
        for name, parameter in inspect.signature(target).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    return create_model(
        getattr(function, "__name__", "settings"),
        __config__=ConfigDict(extra="forbid", protected_namespaces=()),
        **fields,
    )


def check(function: Callable[..., Any], settings: Mapping[str, Any], path: str) -> tuple[dict[str, Any], list[str]]:
    """Settings with every default filled in, and the problems found, each starting with its path."""
    return validate(model(function), settings, path)


def validate(schema: type[BaseModel], settings: Mapping[str, Any], path: str) -> tuple[dict[str, Any], list[str]]:
    """Check plain values against a model; see `check`."""
    try:
        return schema.model_validate(dict(settings)).model_dump(by_alias=True), []
    except ValidationError as error:
        return {}, problems(error, schema, path)


def problems(error: ValidationError, schema: type[BaseModel], path: str) -> list[str]:
    """One sentence for each mistake."""
    found: dict[str, str] = {}
    for detail in error.errors():
        where = ".".join(str(part) for part in detail["loc"] if isinstance(part, int) or _is_key(str(part)))
        place = ".".join(filter(None, [path, where]))
        if detail["type"] == "extra_forbidden":
            siblings = _fields(schema, detail["loc"][:-1])
            hint = nearest(str(detail["loc"][-1]), siblings) or f" (known: {', '.join(siblings) or 'none'})"
            found.setdefault(place, f"{place}: unknown key{hint}")
        elif detail["type"] == "missing":
            found.setdefault(place, f"{place}: is required")
        else:
            message = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
            given = detail["input"]
            got = f", got {given!r}" if isinstance(given, str | int | float | None) else ""
            found.setdefault(place, f"{place or 'the file'}: {message}{got}")
    return list(found.values())


def _is_key(part: str) -> bool:
    """Whether a location part is a key of the user's file; pydantic also names the branches of a union."""
    return re.fullmatch(r"[a-zA-Z_]\w*", part) is not None and part not in ("float", "int", "str", "bool", "none")


def _fields(schema: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    for key in location:
        known = {field.alias or name: field for name, field in schema.model_fields.items()}
        if str(key) not in known:
            break
        models = [t for t in (known[str(key)].annotation, *get_args(known[str(key)].annotation)) if _is_model(t)]
        if not models:
            break
        schema = models[0]
    return [field.alias or name for name, field in schema.model_fields.items()]


def _is_model(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, BaseModel)


def describe(function: Callable[..., Any]) -> list[tuple[str, str, str, str]]:
    """Name, type, default and description of each setting, for people."""
    said = arguments(inspect.getdoc(function) or "")
    target = function.__init__ if inspect.isclass(function) else function
    written = {k: _short(v) for k, v in get_type_hints(target, include_extras=True).items()}
    return [
        (name, written.get(name, ""), str(field.default), said.get(name, ""))
        for name, field in model(function).model_fields.items()
    ]


def fields(schema: type[BaseModel], prefix: str = "") -> list[tuple[str, str, str, str]]:
    """The same for a stage of a recipe, with the keys of its parts."""
    rows = []
    for name, field in schema.model_fields.items():
        if _is_model(field.annotation):
            rows += fields(field.annotation, f"{prefix}{name}.")  # type: ignore[arg-type]
            continue
        default = "required" if field.is_required() else str(field.get_default(call_default_factory=True))
        bounds = ", ".join(_bounds(str(m)) for m in field.metadata)
        kind = f"{_short(field.annotation)} {bounds}".strip()
        rows.append((prefix + name, kind, default, field.description or ""))
    return rows


def _short(hint: Any) -> str:
    text = str(hint) if not inspect.isclass(hint) else hint.__name__
    text = re.sub(r"typing\.(Annotated|Literal|Any|Optional)", r"\1", text)
    text = re.sub(r"Annotated\[(\w+), ([^\]]+)\]", lambda m: f"{m[1]} {_bounds(m[2])}", text)
    text = re.sub(r"Literal\[([^\]]+)\]", lambda m: " | ".join(m[1].split(", ")), text)
    text = re.sub(r"Optional\[([^\]]+)\]", r"\1 or none", text)
    return text.replace(" | None", " or none")


def _bounds(text: str) -> str:
    signs = {"Ge(ge=": ">= ", "Gt(gt=": "> ", "Le(le=": "<= ", "Lt(lt=": "< "}
    for call, sign in signs.items():
        text = text.replace(call, sign)
    return text.replace(")", "").replace(", ", " and ")


def arguments(docstring: str) -> dict[str, str]:
    """The entries of a Google-style `Args:` section, each on one line."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", docstring, re.MULTILINE)
    entries: dict[str, str] = {}
    name = ""
    for line in (section[1] if section else "").splitlines():
        if start := re.match(r"    (\w+): (.*)", line):
            name, entries[start[1]] = start[1], start[2]
        elif name and line.strip():
            entries[name] += " " + line.strip()
    return entries
