"""Changes to a JSON document that a stranger might make: hostile values in the right places.

Random bytes hardly get past a JSON decoder. These get past it, and often past the schema too.
"""

import json
from collections.abc import Iterator
from random import Random
from typing import Any

Place = tuple[Any, Any]
"""A dictionary or list, and a key or index of it."""

INTEGERS = (0, 1, -1, 2, 2**31, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 10**19, 10**400)
FLOATS = (0.0, -0.0, 0.5, 1e-9, 1e9, 1e18, 5e-324, 1e-300, 1e300, 1.7e308, -1e308)
TEXTS = (
    *("", " ", "NaN", "inf", "-", "/", "->", "\x1b[31m", "\n", "\x00", "\u202e", "\ufffd", "ä"),
    *("../../x", "/dev/null", "{}", "{0}", "%s", "<script>", "x" * 10_000, "1" * 10_000),
    *("run", "case", "series", "quiet_ns", "level_0", "train_step", "throughput", "cuda", "cuda:1"),
)
OTHERS = (None, True, False, [], {}, [[]], [None], {"": ""})
DEEP, DEPTH = "deeply nested", 2000
"""What stands for so many lists in each other, which the JSON module would refuse to write."""
CHANGES = 4
"""At most, of one document."""


def mutated(data: bytes, chance: Random) -> bytes:
    """The JSON document, or lines of JSON, with a few changes; of what is neither, the bytes."""
    lines = data.split(b"\n")
    try:
        documents = [json.loads(line) for line in lines if line.strip()]
    except (ValueError, RecursionError):
        documents = []
    if not documents or chance.random() < 0.02:
        return _bytes_mutated(data, chance)
    holder = list(documents)  # so that a whole document or line is a place too
    for _ in range(chance.randint(1, CHANGES)):
        _change(holder, chance)
    text = "\n".join(map(json.dumps, holder)) + "\n"  # with Infinity and NaN, which are no JSON
    return text.replace(f'"{DEEP}"', "[" * DEPTH + "]" * DEPTH).encode()


def _bytes_mutated(data: bytes, chance: Random) -> bytes:
    found = bytearray(data or b"\0")
    for _ in range(chance.randint(1, CHANGES)):
        at = chance.randrange(len(found) + 1)
        match chance.randrange(4):
            case 0:
                found[at:at] = chance.randbytes(chance.randint(1, 8))
            case 1:
                del found[at : at + chance.randint(1, 64)]
            case 2:
                found[at : at + 1] = chance.randbytes(1)
            case _:
                del found[at:]  # cut off
    return bytes(found)


def _places(holder: Any) -> Iterator[Place]:
    stack = [holder]
    while stack:
        parent = stack.pop()
        entries = parent.items() if isinstance(parent, dict) else enumerate(parent)
        for key, value in entries:
            yield parent, key
            if isinstance(value, dict | list):
                stack.append(value)


def _change(holder: list[Any], chance: Random) -> None:
    places = list(_places(holder))
    if not places:
        return
    parent, key = chance.choice(places)
    value = parent[key]
    other_parent, other_key = chance.choice(places)
    match chance.randrange(12):
        case 0 | 1 | 2 | 3:
            parent[key] = _hostile(value, chance)
        case 4:
            parent[key] = _copied(chance.choice((*INTEGERS, *FLOATS, *TEXTS, *OTHERS)))
        case 5:
            del parent[key]
        case 6 if isinstance(parent, list):
            parent.insert(chance.randrange(len(parent) + 1), _copied(value))
        case 7 if isinstance(parent, dict):
            parent[chance.choice((*TEXTS, str(other_key)))] = _copied(value)
        case 8:
            parent[key] = _copied(other_parent[other_key])
        case 9:
            other = other_parent[other_key]
            other_parent[other_key], parent[key] = _copied(value), _copied(other)
        case 10 if not isinstance(value, dict | list):
            _all_alike(places, key, _hostile(value, chance), chance)
        case 11 if chance.random() < 0.1:
            parent[key] = DEEP
        case _:
            alike = [p for p in places if type(p[0][p[1]]) is type(value)]
            other_parent, other_key = chance.choice(alike)
            parent[key] = _copied(other_parent[other_key])


def _all_alike(places: list[Place], key: Any, value: Any, chance: Random) -> None:
    """Put a value at all places of one key, or of a part of them."""
    part = chance.choice((0.5, 1.0))
    for parent, other in places:
        if other == key and type(parent[other]) is type(value) and chance.random() <= part:
            parent[other] = value


def _hostile(value: Any, chance: Random) -> Any:
    """A value of the same type."""
    match value:
        case bool():
            return not value
        case int() if chance.random() < 0.5:
            return value + chance.choice((1, -1, -value, value, 10**6, -2 * value))
        case int():
            return chance.choice(INTEGERS)
        case float() if chance.random() < 0.5:
            return value * chance.choice((-1.0, 2.0, 1e-6, 1e6, 1e12, 0.0))
        case float():
            return chance.choice(FLOATS)
        case str() if chance.random() < 0.3:
            return value + chance.choice(TEXTS)
        case str():
            return chance.choice(TEXTS)
        case list() if value and chance.random() < 0.5:
            return [*value, _copied(value[0])] if chance.random() < 0.5 else value[1:]
        case list():
            return []
        case dict():
            return {}
    return chance.choice((*INTEGERS, *FLOATS, *TEXTS))


def _copied(value: Any) -> Any:
    return json.loads(json.dumps(value))
