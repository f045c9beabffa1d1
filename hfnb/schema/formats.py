"""The formats of strings that answers are held to, as patterns that match the whole string.

A format that is not here is a remark, as JSON Schema has it.
"""

from __future__ import annotations

_FOURTH = "(0[48]|[2468][048]|[13579][26])"
_DAYS = (
    "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    "|02-(0[1-9]|1[0-9]|2[0-8]))"
)
_YEAR = "([0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_DATE = f"({_YEAR}-{_DAYS}|([0-9]{{2}}{_FOURTH}|{_FOURTH}00)-02-29)"
# Years that a time zone shifts to none that Python has not.
_DAY = f"([12][0-9]{{3}}-{_DAYS}|([12][0-9]{_FOURTH}|(12|16|20|24|28)00)-02-29)"
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
_ZONE = "(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_HEX = "[0-9a-fA-F]"
_POINTER = "(/([A-Za-z0-9_.-]|~0|~1)*)*"

FORMATS: dict[str, str] = {
    "date": _DATE,
    "date-time": f"{_DAY}T{_CLOCK}{_ZONE}",
    "time": f"{_CLOCK}{_ZONE}",
    "duration": "P([0-9]{1,4}Y)?([0-9]{1,4}M)?[0-9]{1,4}D(T[0-9]{1,4}H)?",
    "email": r"[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+",
    "hostname": rf"{_LABEL}(\.{_LABEL}){{0,3}}",
    "ipv4": rf"({_BYTE}\.){{3}}{_BYTE}",
    "uuid": f"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}",
    "uri": r"https?://[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+(/[A-Za-z0-9_.~%-]*)*",
    "json-pointer": _POINTER,
    "relative-json-pointer": f"(0|[1-9][0-9]{{0,3}})(#|{_POINTER})",
}
