"""A view's settings against their types, with an error that names the setting and its bound."""

from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..errors import UserError


def checked(kind: Any, value: Any, name: str = "") -> Any:
    """The value as that type.

    Raises:
        UserError: it is none.
    """
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        wrong = error.errors()[0]
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in wrong["loc"])
        message = wrong["msg"].removeprefix("Input ").removeprefix("Value error, ")
        raise UserError(f"{(name + path).lstrip('.')} {message}, not {wrong['input']!r}") from None
