"""How deep a JSON text nests, found before anything is made of it."""

__pyx_capi__: dict[str, object]

def nests_deeper(text: str, levels: int) -> bool: ...
