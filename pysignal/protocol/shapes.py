"""What a value should have been, in words.

The decoder says that a message is wrong, and where, in a notation of its own. Whoever writes a
client is better served by the name of the parameter, what it takes, and what came.
"""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from msgspec import Struct, UnsetType, ValidationError, convert
from msgspec.structs import FieldInfo, fields

_NAMES: Final = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    NoneType: "null",
    list: "an array",
    dict: "an object",
}


def method_of(kind: type[Struct]) -> str:
    """Return the method that a message of a type has."""
    return str(kind.__struct_config__.tag)


def type_of(kind: type[Struct], name: str) -> Any:
    """Return the type of a field of a message."""
    return next(field.type for field in fields(kind) if field.name == name)


def name_of(value: object) -> str:
    """Return what a value of JSON is, with its article."""
    return "a boolean" if isinstance(value, bool) else _NAMES[type(value)]


def has_half_a_character(value: object) -> bool:
    """Return whether a value of JSON holds a text that has no UTF-8 form."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return True
        return False
    if isinstance(value, dict):
        return any(map(has_half_a_character, [*value, *value.values()]))
    return isinstance(value, list) and any(map(has_half_a_character, value))


def problem_of(kind: type[Struct], value: Any, name: str) -> tuple[str, str] | None:
    """Return which part of a value is wrong and how; None where it is right.

    Args:
        kind: the type that it should have.
        value: what came, as plain objects.
        name: how the whole is called, where the whole is wrong.
    """
    if not isinstance(value, dict):
        return name, f"expected an object that has each by its name, not {name_of(value)}"
    for field in fields(kind):
        if field.encode_name not in value:
            if field.required:
                return field.encode_name, f"is missing; {_expected(field.type)} is needed"
            continue
        wrong = _problem_of_field(field, value[field.encode_name])
        if wrong is not None:
            return field.encode_name, wrong
    return None


def _problem_of_field(field: FieldInfo, value: Any) -> str | None:
    if has_half_a_character(value):
        return "holds a lone surrogate; pass text that has a UTF-8 form"
    try:
        convert(value, field.type)
    except ValidationError:
        pass
    else:
        return None
    if isinstance(field.type, type) and issubclass(field.type, Struct):
        part = problem_of(field.type, value, "")
        if part is not None:
            return ": ".join(text for text in part if text)
    expected = _expected(field.type)
    if isinstance(value, list) and "list" in expected:
        other = next((each for each in value if not isinstance(each, str)), None)
        return f"expected {expected}, not one with {name_of(other)} in it"
    if isinstance(value, str) and get_origin(field.type) is Literal:
        return f"expected {expected}, not another string"
    return f"expected {expected}, not {name_of(value)}"


def _expected(kind: Any) -> str:
    """Return what a type stands for, with its article."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _expected(args[0])
    if origin is Literal:
        return " or ".join(f'"{value}"' for value in args)
    if origin is list:
        return f"a list of {_expected(args[0]).removeprefix('a ')}s"
    if origin in (Union, UnionType):
        names = [_expected(each) for each in args if each is not UnsetType]
        if "a number" in names:
            names.remove("a whole number")
        return " or ".join(names)
    return _NAMES.get(kind, "an object")
