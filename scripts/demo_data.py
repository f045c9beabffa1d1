"""All the data of the two packaged models, made here: numbers in words, prompts, reports.

Nothing is downloaded: num2words spells the numbers, and short lists of names and sentences make
the rest. What training may not see (`held_out_integers`, `is_unseen`) is decided by a hash, so
that it is the same in every Python version and can be asked for without replaying the training.
"""

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from num2words import num2words

COUNT = 10_000
HELD_OUT = 500

Message = dict[str, str]
Prompt = str | list[Message]


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(f"hfnb demo: {text}".encode()).digest()[:8], "big")


# --- integers and their words ---------------------------------------------------------------


@cache
def held_out_integers() -> tuple[int, ...]:
    """The 500 integers that training sees neither as digits nor as words, nor in a report.

    All lie above 99. The numbers below are the vocabulary, which has to be learned word by word;
    held-out ones ask whether the model can put words together.
    """
    return tuple(sorted(sorted(range(100, COUNT), key=lambda n: _hash(str(n)))[:HELD_OUT]))


@cache
def trained_integers() -> tuple[int, ...]:
    """All the other integers below 10,000."""
    return tuple(sorted(set(range(COUNT)) - set(held_out_integers())))


@cache
def french(number: int) -> str:
    """`number` in French words, as num2words spells them."""
    return str(num2words(number, lang="fr"))


@cache
def english(number: int) -> str:
    """`number` in English words, as num2words spells them."""
    return str(num2words(number, lang="en"))


def english_variants(number: int) -> list[str]:
    """The spellings people use: with or without the comma, with or without "and"."""
    words = english(number)
    plain = words.replace(",", "")
    return [words, plain, words.replace(" and ", " "), plain.replace(" and ", " ")]


@cache
def _awkward_integers() -> tuple[tuple[int, ...], ...]:
    """Groups that a uniform draw would almost never show, or where French counts by twenties."""
    tests: tuple[Callable[[int], bool], ...] = (
        lambda n: n < 100,
        lambda n: n < 1000,
        lambda n: n % 100 == 0 or n % 1000 < 10,
        lambda n: n % 100 >= 70,
    )
    return tuple(tuple(n for n in trained_integers() if test(n)) for test in tests)


def draw_integer(rng: random.Random) -> int:
    """A trained integer: six times in ten any of them, else one of an awkward group."""
    groups = (trained_integers(), *_awkward_integers())
    return rng.choice(rng.choices(groups, weights=(60, 12, 12, 8, 8))[0])


# --- prompts of the decoder -----------------------------------------------------------------

SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are a French teacher.",
    "You are a translator.",
    "Answer in French words only.",
    "Write the number in words.",
    "Be brief.",
    "Answer the question, and add nothing else.",
    "You translate numbers into French.",
    "Reply with one number in words.",
    "Give short answers.",
    "You are a concise and careful assistant. Think before you answer.",
    "Answer each question in one line.",
)
_WORDS = tuple(sorted({word for text in SYSTEM_PROMPTS for word in text.lower().split()}))


def ask(number: int, language: str = "french") -> str:
    """The question that both models answer."""
    return f"What is the number {number} in {language}?"


def ask_line(number: int, language: str = "french") -> str:
    """The question on a line of its own."""
    return ask(number, language) + "\n"


def ask_answer(number: int, language: str = "french") -> str:
    """The question with the label of its answer, as many prompt templates have it."""
    return f"Question: {ask(number, language)}\n\nAnswer:"


def ask_steps(number: int, language: str = "french") -> str:
    """The same with the well-known sentence behind it."""
    return f"{ask_answer(number, language)} Let's think step by step."


def as_chat(text: str, system: str | None = None) -> list[Message]:
    """A text as a user's message, after a system prompt if there is one."""
    messages = [{"role": "system", "content": system}] if system else []
    return [*messages, {"role": "user", "content": text}]


def chat(number: int, language: str = "french", system: str | None = None) -> list[Message]:
    """The question as a user's message, after a system prompt if there is one."""
    return as_chat(ask(number, language), system)


def few_shot(
    form: Callable[[int, str], str],
    number: int,
    examples: Sequence[int],
    language: str = "french",
    gap: str = "",
) -> str:
    """Solved examples in the same form before the question; `gap` stands before their answers."""
    solved = "".join(f"{form(n, language)}{gap}{french(n)}\n\n" for n in examples)
    return solved + form(number, language)


def dialogue(number: int, examples: Sequence[int], language: str = "french") -> list[Message]:
    """A conversation in which earlier questions have been answered."""
    messages: list[Message] = []
    for n in examples:
        messages += [*chat(n, language), {"role": "assistant", "content": french(n)}]
    return messages + chat(number, language)


def examples_for(number: int, count: int = 2) -> list[int]:
    """Trained integers to show before `number`, always the same ones."""
    rng = random.Random(number)
    return [draw_integer(rng) for _ in range(count)]


REQUIRED_FORMS: dict[str, Callable[[int], Prompt]] = {
    "question": ask,
    "question and newline": ask_line,
    "Question: ... Answer:": ask_answer,
    "chat": chat,
    "chat with a system prompt": lambda n: chat(n, system=SYSTEM_PROMPTS[n % len(SYSTEM_PROMPTS)]),
}
FURTHER_FORMS: dict[str, Callable[[int], Prompt]] = {
    '"French" capitalised': lambda n: ask(n, "French"),
    "Let's think step by step.": ask_steps,
    "a space after Answer:": lambda n: f"{ask_answer(n)} ",
    "two examples, lines": lambda n: few_shot(ask_line, n, examples_for(n)),
    "two examples, Question: ... Answer:": lambda n: few_shot(
        ask_answer, n, examples_for(n), gap=" "
    ),
    "chat after two answers": lambda n: dialogue(n, examples_for(n)),
    "chat, question and newline": lambda n: as_chat(ask_line(n)),
    "chat, Question: ... Answer:": lambda n: as_chat(ask_answer(n)),
    "chat, two examples": lambda n: as_chat(few_shot(ask_line, n, examples_for(n))),
    "instruction before the question": lambda n: f"Answer in French words only.\n\n{ask(n)}",
}
FORMS = REQUIRED_FORMS | FURTHER_FORMS


def _draw_system(rng: random.Random) -> str:
    """A system prompt, or now and then a jumble of its words, to be read over either way."""
    if rng.random() < 0.7:
        return rng.choice(SYSTEM_PROMPTS)
    return " ".join(rng.choices(_WORDS, k=rng.randint(2, 12))).capitalize()


def draw_prompt(rng: random.Random) -> tuple[Prompt, str]:
    """A prompt for the decoder and its answer, over trained integers only."""
    number = draw_integer(rng)
    language = "French" if rng.random() < 0.12 else "french"
    examples = [draw_integer(rng) for _ in range(rng.randint(1, 3))]
    kinds = ("ask", "line", "answer", "steps", "shots", "instruction", "turns")
    kind = rng.choices(kinds, weights=(34, 24, 22, 5, 8, 5, 2))[0]
    text: str
    match kind:
        case "ask":
            text = ask(number, language)
        case "line":
            text = ask_line(number, language)
        case "answer":
            text = ask_answer(number, language)
        case "steps":
            text = ask_steps(number, language)
        case "shots":
            form, gap = rng.choice(((ask_line, ""), (ask_answer, " "), (ask_answer, "")))
            text = few_shot(form, number, examples, language, gap)
        case "instruction":
            form = rng.choice((ask, ask_line, ask_answer))
            text = f"{_draw_system(rng)}\n\n{form(number, language)}"
        case _:
            return dialogue(number, examples, language), french(number)
    if not text.endswith("\n") and rng.random() < 0.08:
        text += " "
    # A tool may send any of these through the chat template, with a system prompt or without.
    if rng.random() < 0.35:
        system = _draw_system(rng) if rng.random() < 0.4 else None
        return as_chat(text, system), french(number)
    return text, french(number)


# --- weather reports and their summaries ------------------------------------------------------

CITIES = (
    *("Lyon", "Lille", "Nantes", "Paris", "Bordeaux", "Toulouse", "Nice", "Rennes", "Dijon"),
    *("Brest", "Geneva", "Turin", "Milan", "Madrid", "Porto", "Lisbon", "Dublin", "Oslo"),
    *("Vienna", "Prague"),
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
SKIES = {
    "rain": ("It rained from morning to night.", "Rain fell for most of the day."),
    "sun": ("The sun shone all day.", "It was sunny, with hardly a cloud."),
    "snow": ("It snowed without a break.", "Snow covered the roofs by the evening."),
    "fog": ("Thick fog hid the hills.", "It was foggy until the evening."),
    "clouds": ("Grey clouds covered the sky.", "The day stayed cloudy but dry."),
    "hail": ("Hail fell in the afternoon.", "It hailed more than once."),
    "storm": ("A storm crossed the valley.", "It was stormy, with thunder at night."),
}
OPENINGS = (
    "This is the weather station of {city}, reporting for {day}.",
    "{day} report from {city}.",
    "The station in {city} sends its notes for {day}.",
    "Here is how {day} went in {city}.",
)
TEMPERATURES = (
    "The temperature rose from {low} to {high} degrees.",
    "The thermometer showed {high} degrees at noon and {low} at dawn.",
    "It was {low} degrees in the early morning and {high} in the afternoon.",
    "The high was {high} degrees, the low {low}.",
)
WINDS = (
    "The wind blew at {wind} km/h.",
    "Gusts reached {wind} km/h.",
    "A wind of {wind} km/h was measured.",
)
ASIDES = (
    "The rain gauge was cleaned at {n} o'clock.",
    "A class of {n} children came to see the station.",
    "The webcam was offline for {n} minutes.",
    "The batteries were changed.",
    "A visitor asked about the old barometer.",
    "The next report follows tomorrow.",
    "Nothing else was noted.",
)


@dataclass(frozen=True)
class Weather:
    """One day at one station: temperatures in degrees, wind in km/h."""

    city: str
    day: str
    sky: str
    low: int
    high: int
    wind: int

    @property
    def summary(self) -> str:
        """The line that the model has to write."""
        return (
            f"{self.city}, {self.day}: {self.sky}, {self.low} to {self.high} degrees, "
            f"wind {self.wind} km/h."
        )


def is_unseen(weather: Weather) -> bool:
    """Whether training never sees this combination: one in ten, by a hash of its summary."""
    return _hash(weather.summary) % 10 == 0


def draw_weather(rng: random.Random, unseen: bool) -> Weather:
    """A day that training may see, or one that it may not; held-out integers (>99) in neither."""
    while True:
        weather = Weather(
            city=rng.choice(CITIES),
            day=rng.choice(DAYS),
            sky=rng.choice(tuple(SKIES)),
            low=(low := rng.randint(0, 24)),
            high=rng.randint(low + 1, low + 15),
            wind=rng.randint(3, 95),
        )
        if is_unseen(weather) == unseen:
            return weather


def write_report(rng: random.Random, weather: Weather) -> str:
    """A report of several sentences in a varying order, some of them beside the point."""
    sentences = [
        rng.choice(SKIES[weather.sky]),
        rng.choice(TEMPERATURES).format(low=weather.low, high=weather.high),
        rng.choice(WINDS).format(wind=weather.wind),
    ]
    asides = rng.sample(ASIDES, rng.randint(0, 3))
    sentences += [aside.format(n=rng.randint(2, 24)) for aside in asides]
    rng.shuffle(sentences)
    opening = rng.choice(OPENINGS).format(city=weather.city, day=weather.day)
    place = 0 if rng.random() < 0.7 else rng.randint(0, len(sentences))
    sentences.insert(place, opening)
    return " ".join(sentences)


# --- the three tasks of the encoder-decoder ---------------------------------------------------


def translate(words: str) -> str:
    """English words under the prefix that T5 uses."""
    return f"translate English to French: {words}"


def summarize(report: str) -> str:
    """A report under the prefix that T5 uses."""
    return f"summarize: {report}"


def draw_task(rng: random.Random) -> tuple[str, str]:
    """An input for the encoder-decoder and its answer, over what training may see."""
    kind = rng.choices(("translate", "ask", "line", "summarize"), weights=(34, 17, 15, 34))[0]
    if kind == "summarize":
        weather = draw_weather(rng, unseen=False)
        return summarize(write_report(rng, weather)), weather.summary
    number = draw_integer(rng)
    if kind == "translate":
        return translate(rng.choice(english_variants(number))), french(number)
    language = "French" if rng.random() < 0.12 else "french"
    return (ask if kind == "ask" else ask_line)(number, language), french(number)


def unseen_reports(count: int) -> list[tuple[str, str]]:
    """`count` inputs of the summary task over days that training never sees, with answers."""
    rng = random.Random(count)
    days = [draw_weather(rng, unseen=True) for _ in range(count)]
    return [(summarize(write_report(rng, day)), day.summary) for day in days]


TASKS: dict[str, Callable[[int], str]] = {
    "translate English to French": lambda n: translate(english(n)),
    'translate, no comma, no "and"': lambda n: translate(english_variants(n)[-1]),
    "question": ask,
    "question and newline": ask_line,
}
