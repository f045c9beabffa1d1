"""What holds to two schemas at once, in plain form, and whether anything does."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from hfnb.errors import OptionError
from hfnb.schema.plain import (
    ANY,
    Alternative,
    Array,
    Number,
    Object,
    Simple,
    Text,
    Union,
    Values,
    refused,
    type_of,
    types_of,
)

_MOST_PAIRS = 10_000


def property_of(made: Object, name: str) -> Union:
    """Return what a property of some name may be."""
    found = [made.properties[name]] if name in made.properties else []
    found += [each for pattern, each in made.patterns if re.search(pattern, name)]
    if not found:
        return ANY if made.rest is None else made.rest
    union = found[0]
    for each in found[1:]:
        union = both(union, each)
    return union


def both(one: Union, other: Union) -> Union:
    """Return what holds to both."""
    if one in (ANY, other):
        return other
    if other == ANY:
        return one
    if len(one) * len(other) > _MOST_PAIRS:
        raise OptionError("The schema combines too many choices (anyOf, oneOf) with one another.")
    found: dict[str, Alternative] = {}
    for a in one:
        for b in other:
            made = _both(a, b)
            if made is not None:
                found.setdefault(repr(made), made)
    return tuple(found.values())


def _both(a: Alternative, b: Alternative) -> Alternative | None:
    if isinstance(b, Values) and not isinstance(a, Values):
        a, b = b, a
    if isinstance(a, Values):
        return _among(a, b)
    if isinstance(a, Simple) or isinstance(b, Simple):
        return a if a == b else None
    if isinstance(a, Number) and isinstance(b, Number):
        return Number(
            a.whole or b.whole,
            _highest(a.least, b.least),
            _lowest(a.most, b.most),
            _highest(a.above, b.above),
            _lowest(a.below, b.below),
            math.lcm(a.multiple or 1, b.multiple or 1) if a.multiple or b.multiple else None,
        )
    if isinstance(a, Text) and isinstance(b, Text):
        if a.pattern and b.pattern and a.pattern != b.pattern:
            raise refused(
                f"a string is to have two patterns at once, {a.pattern!r} and {b.pattern!r}"
            )
        pattern = a.pattern or b.pattern
        most = _lowest(a.most, b.most)
        return Text(
            max(a.least, b.least),
            None if most is None else int(most),
            pattern,
            a.format or b.format,
        )
    if isinstance(a, Array) and isinstance(b, Array):
        return _both_arrays(a, b)
    if isinstance(a, Object) and isinstance(b, Object):
        return _both_objects(a, b)
    return None


def _among(a: Values, b: Alternative) -> Values | None:
    """Return those of some values that hold to an alternative, too."""
    kept = tuple(each for each in a.values if holds(b, each))
    return Values(kept) if kept else None


def holds(alternative: Alternative, value: Any) -> bool:
    """Whether a value is what an alternative says."""
    if isinstance(alternative, Values):
        return any(same(each) == same(value) for each in alternative.values)
    if types_of(alternative) != {type_of(value)}:
        return False
    if isinstance(alternative, Number):
        return _is_within(alternative, value)
    if isinstance(alternative, Text):
        fits = alternative.least <= len(value) <= _most(alternative.most)
        return fits and re.search(alternative.pattern or "", value) is not None
    if isinstance(alternative, Array):
        fits = alternative.least <= len(value) <= _most(alternative.most)
        return fits and all(is_one_of(_item(alternative, i), v) for i, v in enumerate(value))
    if isinstance(alternative, Object):
        fits = alternative.least <= len(value) <= _most(alternative.most)
        return (
            fits
            and set(alternative.required) <= set(value)
            and all(is_one_of(property_of(alternative, name), v) for name, v in value.items())
            and all(is_one_of(names, name) for name in value for names in alternative.names)
        )
    return True


def is_one_of(union: Union, value: Any) -> bool:
    """Whether a value is what one of the alternatives says."""
    return any(holds(each, value) for each in union)


def _most(bound: int | None) -> float:
    return math.inf if bound is None else bound


def _is_within(number: Number, value: float) -> bool:
    return (
        (not number.whole or float(value).is_integer())
        and (number.least is None or value >= number.least)
        and (number.most is None or value <= number.most)
        and (number.above is None or value > number.above)
        and (number.below is None or value < number.below)
        and (number.multiple is None or value % number.multiple == 0)
    )


def _both_arrays(a: Array, b: Array) -> Array:
    count = max(len(a.first), len(b.first))
    most = _lowest(a.most, b.most)
    return Array(
        tuple(both(_item(a, at), _item(b, at)) for at in range(count)),
        both(_item(a, count), _item(b, count))
        if a.rest is not None or b.rest is not None
        else None,
        max(a.least, b.least),
        None if most is None else int(most),
    )


def _item(array: Array, at: int) -> Union:
    if at < len(array.first):
        return array.first[at]
    return ANY if array.rest is None else array.rest


def _both_objects(a: Object, b: Object) -> Object:
    names = dict.fromkeys([*a.properties, *b.properties])
    rest = None
    if a.rest is not None or b.rest is not None:
        rest = both(ANY if a.rest is None else a.rest, ANY if b.rest is None else b.rest)
    most = _lowest(a.most, b.most)
    return Object(
        {name: both(property_of(a, name), property_of(b, name)) for name in names},
        tuple(dict.fromkeys([*a.required, *b.required])),
        rest,
        a.patterns + b.patterns,
        a.names + b.names,
        max(a.least, b.least),
        None if most is None else int(most),
    )


def _highest(*bounds: float | None) -> float | None:
    return max((each for each in bounds if each is not None), default=None)


def _lowest(*bounds: float | None) -> float | None:
    return min((each for each in bounds if each is not None), default=None)


def apart(one: Union, other: Union) -> bool:
    """Whether it is plain that nothing holds to both."""
    return all(_apart(a, b) for a in one for b in other)


def _apart(a: Alternative, b: Alternative) -> bool:
    if isinstance(a, Object) and isinstance(b, Object):
        # A property that both must have, and that can't be the same in both, or that one must have.
        return any(
            (name in b.required or not property_of(b, name))
            and apart(property_of(a, name), property_of(b, name))
            for name in a.required
        ) or any(not property_of(a, name) for name in b.required)
    if isinstance(a, Values) and isinstance(b, Values):
        return not {same(each) for each in a.values} & {same(each) for each in b.values}
    return not types_of(a) & types_of(b)


def same(value: Any) -> str:
    """Return a text that is the same for values that are equal in JSON, as 1 and 1.0 are."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, list):
        return f"[{','.join(map(same, value))}]"
    if isinstance(value, dict):
        return str(sorted((name, same(each)) for name, each in value.items()))
    return json.dumps(value)
