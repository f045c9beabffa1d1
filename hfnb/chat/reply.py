"""A model's answer, taken apart while it arrives: reasoning, content and tool calls.

What comes out does not depend on how the text was cut into pieces: a part that may turn out to be
the beginning of a marker is kept back until it is known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

from hfnb.chat.tool_calls import JsonEnd, Piece, call_of, calls_of, loads, xml_call

THINK, END_THINK = "<think>", "</think>"
CALL, END_CALL = "<tool_call>", "</tool_call>"
PYTHON_TAG, TOOL_CALLS, ARGS, CALL_ID = "<|python_tag|>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"
REASONING_TOKENS = (THINK, END_THINK)
TOOL_TOKENS = (PYTHON_TAG, TOOL_CALLS, ARGS, CALL_ID, CALL, END_CALL)

_MARKERS = (CALL, PYTHON_TAG, TOOL_CALLS)
_KEYS = ("name", "type", "id", "function", "parameters", "arguments")
"""The keys with which a tool call without any marker may begin."""
_FIRST_KEY = re.compile(r'\[?\s*\{\s*"([^"\\]*)"')
_BEFORE_FIRST_KEY = re.compile(r'\[?\s*(\{\s*("[^"\\]*)?)?')
_NAMED = re.compile(
    r'\[?\s*\{\s*(?:"type"\s*:\s*"function"\s*,\s*)?"(?:name|function)"\s*:\s*"(.*?)"'
)


class ReplyParser:
    """Takes an answer apart; feed it the text, then call `finish`.

    Args:
        tools: The names of the tools that may be called; ``None`` looks for no calls.
        schemas: The JSON schemas of their parameters by name, for calls that are not JSON.
        opened: Whether the prompt ended inside of the reasoning.

    Example:
        >>> parser = ReplyParser(tools={"add"})
        >>> for text in ("Let me see. <tool_c", 'all>{"name": "add"}</tool_call>'):
        ...     print([(piece.kind, piece.text) for piece in parser.feed(text)])
        [('content', 'Let me see.')]
        [('call', '{}')]
    """

    def __init__(
        self,
        *,
        tools: Collection[str] | None = None,
        schemas: Mapping[str, Any] | None = None,
        opened: bool = False,
    ) -> None:
        self._tools = tools
        self._schemas = schemas or {}
        self._buffer = ""
        self._out: list[Piece] = []
        self._space = ""
        self._begun = False
        self._called = False
        self._bare = tools is not None
        self._strip = False
        self._first = True
        self._named = ""
        self._json = JsonEnd()
        self._after_start = self._reasoning if opened else self._content
        self._step: Callable[[bool], bool] = self._start

    def feed(self, text: str) -> list[Piece]:
        """Return what became known with this text."""
        return self._run(text, final=False)

    def finish(self) -> list[Piece]:
        """Return what is left at the end of the text."""
        pieces = self._run("", final=True)
        if self._space and not self._called and self._step == self._content:
            pieces.append(Piece("content", self._space))
        return pieces

    def _run(self, text: str, *, final: bool) -> list[Piece]:
        self._buffer += text
        self._out = []
        while self._step(final):
            pass
        return self._out

    # --- the states: each takes what it can off the buffer, and says whether to go on ----------

    def _start(self, final: bool) -> bool:
        begin = self._buffer.lstrip()
        if not final and THINK.startswith(begin):
            return False
        self._step = self._after_start
        if begin.startswith(THINK):
            self._buffer = begin[len(THINK) :]
            self._step = self._reasoning
        return True

    def _reasoning(self, final: bool) -> bool:
        self._strip = True
        end = self._buffer.find(END_THINK)
        if end < 0:
            cut = len(self._buffer) - (0 if final else _held(self._buffer, (END_THINK,)))
            self._text("reasoning", cut)
            return False
        self._text("reasoning", end)
        self._buffer = self._buffer[len(END_THINK) :]
        self._space, self._begun = "", False
        self._step = self._content
        return True

    def _content(self, final: bool) -> bool:
        if self._tools is None:
            self._text("content", len(self._buffer))
            return False
        if self._bare:
            begin = self._buffer.lstrip()
            if not begin and not final:
                return False
            self._bare = False
            if begin[:1] in ("{", "["):
                self._json = JsonEnd(len(self._buffer) - len(begin))
                self._step = self._bare_json
                return True
        places = [(at, each) for each in _MARKERS if (at := self._buffer.find(each)) >= 0]
        if not places:
            cut = len(self._buffer) - (0 if final else _held(self._buffer, _MARKERS))
            self._text("content", cut)
            return False
        at, marker = min(places)
        self._text("content", at)
        self._space = ""
        self._buffer = self._buffer[len(marker) :]
        self._json, self._first, self._named = JsonEnd(), True, ""
        states = {CALL: self._tagged, PYTHON_TAG: self._listed, TOOL_CALLS: self._mistral}
        self._step = states[marker]
        return True

    def _bare_json(self, final: bool) -> bool:
        """A call without a marker, as Llama writes it; or an answer that is JSON."""
        begin = self._buffer.lstrip()
        if not final and begin != TOOL_CALLS and TOOL_CALLS.startswith(begin):
            return False
        key = _FIRST_KEY.match(begin)
        end = None
        if key.group(1) in _KEYS if key else _BEFORE_FIRST_KEY.fullmatch(begin):
            end = self._json.end(self._buffer)
            if end is None and not final:
                return False
        self._step = self._content
        stop = len(self._buffer) if end is None else end if end > 0 else -1 - end
        if end is not None and end > 0 and self._names_a_tool(self._buffer[:end]):
            self._take(end, PYTHON_TAG)
            self._json, self._first = JsonEnd(), False
            self._step = self._listed
        elif (end is None or end < 0) and self._begins_a_call(begin):
            self._cut_off(stop, PYTHON_TAG)
        return True

    def _listed(self, final: bool) -> bool:
        """Llama's calls: one object, or several with semicolons between them."""
        self._buffer = self._buffer.lstrip(" \t\r\n;,")
        if not self._buffer:
            return self._back() if final else False
        if self._buffer[0] != "{":
            if self._first and not final:
                return False  # code, for a tool that runs code: hfnb has none
            if self._first:
                self._cut_off(len(self._buffer), PYTHON_TAG)
            return self._back()
        end = self._json.end(self._buffer)
        if end is None or end < 0:
            if final:
                self._cut_off(len(self._buffer), PYTHON_TAG)
            return self._back() if final else False
        self._take(end, PYTHON_TAG)
        self._json, self._first = JsonEnd(), False
        return True

    def _tagged(self, final: bool) -> bool:
        """A call between tags, as Hermes and Qwen write it."""
        self._buffer = self._buffer.lstrip()
        if not self._buffer and not final:
            return False
        is_json = self._buffer.startswith(("{", "["))
        end = self._json.end(self._buffer) if is_json else -1
        if end is None and not final:
            return False
        if end is not None and end > 0:
            self._take(end, CALL)
            self._step = self._after_tagged
            return True
        place = self._buffer.find(END_CALL, 0 if end is None else -1 - end)
        if place < 0 and not final:
            return False
        stop = len(self._buffer) if place < 0 else place
        call = None if is_json else xml_call(self._buffer[:stop], self._schemas)
        if call:
            self._out.append(call)
            self._buffer, self._called = self._buffer[stop:], True
        else:
            self._cut_off(stop, CALL)
        self._step = self._after_tagged
        return True

    def _after_tagged(self, final: bool) -> bool:
        begin = self._buffer.lstrip()
        if not final and END_CALL.startswith(begin):
            return False
        if begin.startswith(END_CALL) or (begin and END_CALL.startswith(begin)):
            self._buffer = begin[len(END_CALL) :]
        return self._back()

    def _mistral(self, final: bool) -> bool:
        """A list of calls, or a name and its arguments."""
        self._buffer = self._buffer.lstrip()
        end = None
        if not self._named and not self._buffer.startswith(("[", "{")):
            at = self._buffer.find(ARGS)
            begin = self._buffer[at + len(ARGS) :].lstrip() if at >= 0 else ""
            if begin:
                self._named = self._buffer[:at].partition(CALL_ID)[0].strip()
                self._json = JsonEnd(len(self._buffer) - len(begin))
                self._first = begin[0] == "{"
        if self._first and (self._named or self._buffer.startswith(("[", "{"))):
            end = self._json.end(self._buffer)
        if end is not None and end > 0:
            self._take(end, TOOL_CALLS, self._named)
            return self._back()
        if not final:
            return False
        self._cut_off(len(self._buffer), TOOL_CALLS)
        return self._back()

    # --- what they share -----------------------------------------------------------------------

    def _back(self) -> bool:
        self._step = self._content
        return True

    def _text(self, kind: Literal["content", "reasoning"], cut: int) -> None:
        """Give the text up to ``cut``; white space waits for what follows it."""
        text = self._space + self._buffer[:cut]
        self._buffer = self._buffer[cut:]
        if not self._begun and (self._strip or self._called):
            text = text.lstrip()
        held = kind == "reasoning" or self._tools is not None
        kept = text.rstrip() if held else text
        self._space = text[len(kept) :]
        if kept:
            self._begun = True
            self._out.append(Piece(kind, kept))

    def _take(self, end: int, marker: str, name: str = "") -> None:
        """Take a JSON value off the buffer: a call, several, or the arguments of a named one."""
        written, self._called = self._buffer[:end], True
        try:
            if name:
                arguments = loads(written.partition(ARGS)[2])
                self._out.append(call_of({"name": name, "arguments": arguments}))
            else:
                self._out += calls_of(written)
        except ValueError as error:
            self._out.append(Piece("invalid", marker + written, name, str(error)))
        self._buffer = self._buffer[end:]

    def _cut_off(self, stop: int, marker: str) -> None:
        """Take off the buffer what was begun as a call and is none."""
        written, self._called = self._buffer[:stop], True
        self._out.append(Piece("invalid", marker + written, "", "It is not complete JSON."))
        self._buffer = self._buffer[stop:]

    def _begins_a_call(self, text: str) -> bool:
        named = _NAMED.match(text)
        return named is not None and named.group(1) in (self._tools or ())

    def _names_a_tool(self, text: str) -> bool:
        try:
            calls = calls_of(text)
        except ValueError:
            return self._begins_a_call(text.lstrip())
        return bool(calls) and all(each.name in (self._tools or ()) for each in calls)


def parse_reply(text: str, **options: Any) -> list[Piece]:
    """Take a whole answer apart; the options are those of `ReplyParser`."""
    parser = ReplyParser(**options)
    return parser.feed(text) + parser.finish()


def _held(text: str, markers: Collection[str]) -> int:
    """Return how many characters at the end may be the beginning of a marker."""
    longest = max(map(len, markers)) - 1
    for size in range(min(longest, len(text)), 0, -1):
        if any(each.startswith(text[-size:]) for each in markers):
            return size
    return 0
