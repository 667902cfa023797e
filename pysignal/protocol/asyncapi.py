"""The protocol as an AsyncAPI 3.0 document, made from the types that the decoders check against.

    python -m pysignal.protocol.asyncapi            write asyncapi.json, beside this file
    python -m pysignal.protocol.asyncapi --check    only say whether it is up to date

It describes the server: what it receives is what a client sends. What types cannot say, how the
messages play together, stands in docs/protocol.md.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from msgspec.json import schema_components

from pysignal.errors import BY_CODE, SignalingError
from pysignal.protocol import examples
from pysignal.protocol.messages import NOTIFICATIONS, REQUESTS, Ack, Request
from pysignal.protocol.numbers import NUMBER_MAX, PATH, SUBPROTOCOL
from pysignal.protocol.results import Error
from pysignal.protocol.shapes import method_of

DOCUMENT: Final = Path(__file__).with_name("asyncapi.json")

_SCHEMA: Final = "#/components/schemas/{name}"
_CHANNEL: Final = {"$ref": "#/channels/signaling"}
_NUMBER: Final = {"type": "integer", "minimum": 0, "maximum": NUMBER_MAX}

_UNANSWERED: Final[tuple[type[Struct], ...]] = (Ack, *NOTIFICATIONS)

_ABOUT: Final = """\
Invitations between users, over WebSocket: JSON-RPC 2.0 in text frames. A frame is one message, or
an array of messages that are taken in order. The first message of a connection is `login`.

This document describes the server: it receives requests, replies to each, and sends notifications.
How the messages play together (resuming after a break, request numbers, close codes) stands in
docs/protocol.md.
"""
_TOKEN: Final = """\
A JWT (HS256, `sub` is the user, `exp` is required) or a UserSig (TLSSigAPIv2). It stands in the
parameter `token` of the first message, `login`, and never in the URL.
"""


def document() -> dict[str, Any]:
    """Return the document, as plain objects."""
    messages = _requests() | _notifications() | {"error": _error()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "pysignal",
            "version": SUBPROTOCOL.rpartition("v")[2] + ".0.0",
            "description": _ABOUT,
            "license": {
                "name": "Apache-2.0",
                "url": "https://www.apache.org/licenses/LICENSE-2.0",
            },
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {
                "host": "localhost:8080",
                "protocol": "ws",
                "description": "What `pysignal serve` listens on if it is told nothing else.",
                "security": [{"$ref": "#/components/securitySchemes/token"}],
            }
        },
        "channels": {
            "signaling": {
                "address": PATH,
                "title": "Signaling",
                "description": f"A WebSocket whose handshake offers the subprotocol {SUBPROTOCOL}.",
                "messages": {name: _message(name) for name in messages},
                "bindings": {"ws": {"method": "GET", "headers": _handshake()}},
            }
        },
        "operations": _operations(),
        "components": {
            "messages": messages,
            "schemas": _schemas(),
            "correlationIds": {
                "number": {
                    "description": "The number of the request, which its answer has too.",
                    "location": "$message.payload#/id",
                }
            },
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "password", "description": _TOKEN}
            },
        },
    }


def written() -> str:
    """Return the document as the text of its file."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


# -- messages --------------------------------------------------------------------------------------


def _requests() -> dict[str, Any]:
    """Return the messages of requests and of their results, by name."""
    messages: dict[str, Any] = {}
    for number, (kind, result) in enumerate(REQUESTS.items()):
        method = method_of(kind)
        messages[method] = _described(kind) | {
            "correlationId": {"$ref": "#/components/correlationIds/number"},
            "payload": _schema_of(kind),
            "examples": [_example(_call(method, number))],
        }
        answer = {"jsonrpc": "2.0", "id": number, "result": examples.RESULTS.get(method)}
        messages[f"{method}_result"] = {
            "name": f"{method}_result",
            "title": f"Result of {method}",
            "contentType": "application/json",
            "correlationId": {"$ref": "#/components/correlationIds/number"},
            "payload": _answer("result", _NUMBER, _result_schema(result)),
            "examples": [_example(answer)],
        }
    return messages


def _notifications() -> dict[str, Any]:
    """Return the messages that have no answer, by name."""
    return {
        method_of(kind): _described(kind)
        | {
            "payload": _schema_of(kind),
            "examples": [_example(_call(method_of(kind), None))],
        }
        for kind in _UNANSWERED
    }


def _error() -> dict[str, Any]:
    number = {"anyOf": [_NUMBER, {"type": "null"}]}
    answer = {"jsonrpc": "2.0", "id": 5, "error": examples.ERROR}
    return {
        "name": "error",
        "title": "Refusal",
        "summary": "A request was refused; or a text was no request, and has no number.",
        "contentType": "application/json",
        "correlationId": {"$ref": "#/components/correlationIds/number"},
        "payload": _answer("error", number, {"$ref": _SCHEMA.format(name="Error")}),
        "examples": [_example(answer)],
    }


def _call(method: str, number: int | None) -> dict[str, Any]:
    params = examples.PARAMS[method] if method in examples.PARAMS else examples.TOLD[method]
    call = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    if number is None:
        del call["id"]
    if not params:
        del call["params"]
    return call


def _example(payload: Any) -> dict[str, Any]:
    return {"payload": payload}


def _answer(part: str, number: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["jsonrpc", "id", part],
        "properties": {"jsonrpc": {"const": "2.0"}, "id": number, part: schema},
    }


def _described(kind: type[Struct]) -> dict[str, Any]:
    method = method_of(kind)
    text, _ = _docstring(kind)
    return {
        "name": method,
        "title": method,
        "summary": text,
        "contentType": "application/json",
    }


# -- operations ------------------------------------------------------------------------------------


def _operations() -> dict[str, Any]:
    operations = {method_of(kind): _request_operation(kind) for kind in REQUESTS}
    operations["ack"] = _operation("receive", Ack)
    for kind in NOTIFICATIONS:
        operations[method_of(kind)] = _operation("send", kind)
    return operations


def _request_operation(kind: type[Request]) -> dict[str, Any]:
    replies = [_of_channel(f"{method_of(kind)}_result"), _of_channel("error")]
    return _operation("receive", kind) | {"reply": {"channel": _CHANNEL, "messages": replies}}


def _operation(action: str, kind: type[Struct]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": _CHANNEL,
        "summary": _docstring(kind)[0],
        "messages": [_of_channel(method_of(kind))],
    }


def _of_channel(name: str) -> dict[str, str]:
    return {"$ref": f"#/channels/signaling/messages/{name}"}


def _message(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/messages/{name}"}


def _handshake() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["Sec-WebSocket-Protocol"],
        "properties": {
            "Sec-WebSocket-Protocol": {
                "type": "string",
                "description": f"Offers {SUBPROTOCOL}, maybe among others.",
            }
        },
    }


# -- schemas ---------------------------------------------------------------------------------------


def _all_kinds() -> list[Any]:
    results = [result for result in REQUESTS.values() if result is not None]
    return [*REQUESTS, Ack, *NOTIFICATIONS, *results, Error]


def _schemas() -> dict[str, Any]:
    _, schemas = schema_components(_all_kinds(), ref_template=_SCHEMA)
    kinds = {kind.__name__: kind for kind in _structs(Struct)}
    for name, schema in schemas.items():
        text, attributes = _docstring(kinds[name])
        schema["description"] = text
        for field, description in attributes.items():
            if field in schema["properties"]:
                schema["properties"][field] = _with(schema["properties"][field], description)
    schemas["Error"]["x-codes"] = {
        str(code): {"name": error.name, "remedy": error.remedy.value, "when": _when(error)}
        for code, error in sorted(BY_CODE.items())
    }
    return schemas


def _structs(kind: type[Any]) -> list[type[Struct]]:
    """Return the messages of this package and their parts."""
    own = [each for each in kind.__subclasses__() if each.__module__.startswith(__package__ or "")]
    return own + [part for each in own for part in _structs(each)]


def _schema_of(kind: type[Struct]) -> dict[str, Any]:
    return {"$ref": _SCHEMA.format(name=kind.__name__)}


def _result_schema(result: Any) -> dict[str, Any]:
    if result is None:
        return {"type": "null"}
    (schema,), _ = schema_components([result], ref_template=_SCHEMA)
    return schema


def _with(schema: dict[str, Any], description: str) -> dict[str, Any]:
    """Add a description; beside a reference it would be passed over."""
    described = {"allOf": [schema]} if "$ref" in schema else schema
    return described | {"description": description}


def _docstring(kind: type[Any]) -> tuple[str, dict[str, str]]:
    """Return what the docstring of a type says, and what it says of each attribute."""
    attributes: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        _, _, listed = inspect.cleandoc(vars(each).get("__doc__") or "").partition("Attributes:\n")
        for entry in re.split(r"\n(?=    \w)", "\n" + listed):
            name, _, text = entry.strip().partition(": ")
            attributes.update(dict.fromkeys(name.split(", "), _one_line(text)) if text else {})
    text, _, _ = inspect.getdoc(kind).partition("Attributes:\n")  # type: ignore[union-attr]
    return _one_line(text), attributes


def _when(error: type[SignalingError]) -> str:
    return _one_line((inspect.getdoc(error) or "").split("\n\n")[0])


def _one_line(text: str) -> str:
    return " ".join(text.split())


def main(arguments: list[str]) -> int:
    """Write the document, or check it; the exit code tells whether it is up to date."""
    if arguments == ["--check"]:
        return int(not DOCUMENT.is_file() or DOCUMENT.read_text(encoding="utf-8") != written())
    DOCUMENT.write_text(written(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
