"""Plain schemas written for a grammar.

What is written may allow less than the schema does, and never more: an object, for instance, gets
the properties that are named and no others, and an integer has 64 bits.
"""

from __future__ import annotations

import json
import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from hfnb.schema.formats import FORMATS
from hfnb.schema.meet import is_one_of, property_of
from hfnb.schema.patterns import CHARACTER, grammar_pattern
from hfnb.schema.plain import (
    ANY,
    LEAST_INTEGER,
    MOST_INTEGER,
    Alternative,
    Array,
    Number,
    Object,
    Simple,
    Text,
    Union,
    Values,
    refused,
)

LONGEST = 128
"""The longest minLength or maxLength that a grammar can hold a text to, in characters."""
MOST_BOUND = 10**15
"""The largest bound of a number: beyond, floats are too far apart to tell what is within."""
_MICRO = Decimal("0.000001")
_EIGHTEEN_DIGITS = 10**17
_MOST_MULTIPLES = 1_000


def json_of(union: Union) -> dict[str, Any] | None:
    """Return a JSON schema in plain words; ``None`` where nothing can hold to it.

    Raises:
        OptionError: It asks for what no grammar can hold an answer to.
    """
    if union == ANY:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for each in union:
        written = _written(each)
        if written is not None:
            found.setdefault(json.dumps(written, sort_keys=True), written)
    made = list(found.values())
    if not made:
        return None
    return made[0] if len(made) == 1 else {"anyOf": made}


def _written(each: Alternative) -> dict[str, Any] | None:
    if isinstance(each, Values):
        return {"enum": list(each.values)} if each.values else None
    if isinstance(each, Simple):
        return {"type": each.type}
    if isinstance(each, Number):
        return _of_number(each)
    if isinstance(each, Text):
        return _of_text(each)
    if isinstance(each, Array):
        return _of_array(each)
    return _of_object(each)


def whole_bounds(number: Number) -> tuple[int, int]:
    """Return the least and the most integer that an integer of 64 bits may be."""
    lows = [LEAST_INTEGER]
    highs = [MOST_INTEGER]
    if number.least is not None:
        lows.append(math.ceil(number.least))
    if number.above is not None:
        lows.append(math.floor(number.above) + 1)
    if number.most is not None:
        highs.append(math.floor(number.most))
    if number.below is not None:
        highs.append(math.ceil(number.below) - 1)
    return max(lows), min(highs)


def _of_integer(number: Number) -> dict[str, Any] | None:
    least, most = whole_bounds(number)
    if least > most:
        return None
    multiple = number.multiple or 1
    if multiple == 1:
        written: dict[str, Any] = {"type": "integer"}
        # Without a bound a grammar gives 18 digits, which is simpler than the bounds of 64 bits.
        simple = min(abs(least), abs(most)) < _EIGHTEEN_DIGITS or least <= 0 <= most
        if least > LEAST_INTEGER or not simple:
            written["minimum"] = least
        if most < MOST_INTEGER or not simple:
            written["maximum"] = most
        return written
    if (least, most) == (LEAST_INTEGER, MOST_INTEGER):
        return {"type": "integer", "multipleOf": multiple}
    values = range(-(-least // multiple) * multiple, most + 1, multiple)
    if len(values) > _MOST_MULTIPLES:
        raise refused(f"an integer is to be one of more than {_MOST_MULTIPLES:,} multiples")
    return {"enum": list(values)} if values else None


def _of_number(number: Number) -> dict[str, Any] | None:
    if number.whole:
        return _of_integer(number)
    low, high = _inner(number.least, number.above, 1), _inner(number.most, number.below, -1)
    if low is not None and high is not None:
        crossed = low[0] > high[0] or (low[0] == high[0] and (low[1] or high[1]))
        if crossed:
            return None
    written: dict[str, Any] = {"type": "number"}
    for bound, names in ((low, _LOW), (high, _HIGH)):
        if bound is not None:
            written[names[bound[1]]] = float(bound[0])
    return written


_LOW, _HIGH = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")


def _inner(within: float | None, without: float | None, way: int) -> tuple[Decimal, bool] | None:
    """Return the narrower of two bounds, and whether it is out of bounds itself.

    Numbers between bounds are written with six decimals, so that a bound which has more is taken
    to the next one inside.
    """
    bounds = [(Decimal(repr(each)), out) for each, out in ((within, False), (without, True))
              if each is not None]  # fmt: skip
    if not bounds:
        return None
    bound, out = max(bounds, key=lambda each: (way * each[0], each[1]))
    if abs(bound) > MOST_BOUND:
        raise refused(f"a number has the bound {bound}, and bounds are held up to 10^15")
    inner = bound.quantize(_MICRO, ROUND_CEILING if way > 0 else ROUND_FLOOR)
    return inner, out and inner == bound


def _of_text(text: Text) -> dict[str, Any] | None:
    if text.most is not None and text.least > text.most:
        return None
    bounded = text.least > 0 or text.most is not None
    if text.pattern is not None:
        if bounded:
            raise refused("a string has a pattern and a minLength or a maxLength: leave one out")
        return {"type": "string", "pattern": grammar_pattern(text.pattern)}
    if not bounded:
        pattern = FORMATS.get(text.format or "")
        return {"type": "string"} if pattern is None else {"type": "string", "pattern": pattern}
    for name, bound in (("minLength", text.least), ("maxLength", text.most)):
        if bound is not None and bound > LONGEST:
            raise refused(f"{name} is {bound:,}, and lengths are held up to {LONGEST} characters")
    if text.most == 0:
        return {"enum": [""]}
    most = "" if text.most is None else text.most
    return {"type": "string", "pattern": f"{CHARACTER}{{{text.least},{most}}}"}


def _of_array(array: Array) -> dict[str, Any] | None:
    most, first = array.most, []
    for at in range(len(array.first) if most is None else min(most, len(array.first))):
        written = json_of(array.first[at])
        if written is None:
            most = at
            break
        first.append(written)
    rest = {} if array.rest is None else json_of(array.rest)
    if rest is None and (most is None or most > len(first)):
        most = len(first)
    if most is not None and array.least > most:
        return None
    made: dict[str, Any] = {"type": "array"}
    if first:
        made["prefixItems"] = first
    made["items"] = False if most is not None and most <= len(first) else rest
    if array.least:
        made["minItems"] = array.least
    if most is not None:
        made["maxItems"] = most
    return made


def _of_object(made: Object) -> dict[str, Any] | None:
    written: dict[str, Any] = {}
    for name in dict.fromkeys([*made.properties, *made.required]):
        fits = all(is_one_of(names, name) for names in made.names)
        of_name = json_of(property_of(made, name)) if fits else None
        if of_name is not None:
            written[name] = of_name
        elif name in made.required:
            return None
    rest = {} if made.rest is None else json_of(made.rest)
    if not written and (made.patterns or made.names) and rest is not None:
        raise refused("an object's properties are told by patternProperties or propertyNames only")
    required = [name for name in written if name in made.required]
    if made.most is not None and made.most < len(required):
        return None
    if not written and rest is not None and made.most != 0:
        if made.least or made.most is not None:
            raise refused("the properties of an object without names are to be counted")
        return {"type": "object", "additionalProperties": rest}
    return _counted(made, written, required, rest)


def _counted(
    made: Object, written: dict[str, Any], required: list[str], rest: Any
) -> dict[str, Any] | None:
    """Return an object of named properties, as many of them as there may be."""
    optional = [name for name in written if name not in required]
    if made.most is not None:
        optional = optional[: made.most - len(required)]
    more = max(0, made.least - len(required))
    if more > len(optional):
        if rest is None and not made.patterns:
            return None
        raise refused(f"an object is to have {made.least} properties, and fewer have names")
    kept = {*required, *optional}
    needed = {*required, *optional[:more]}
    return {
        "type": "object",
        "properties": {name: each for name, each in written.items() if name in kept},
        "required": [name for name in written if name in needed],
        "additionalProperties": False,
    }
