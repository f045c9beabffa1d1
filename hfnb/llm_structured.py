"""Answers of the LLM as objects: what `HuggingFacePipeline.with_structured_output` is made of."""

from __future__ import annotations

from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import convert_to_messages
from langchain_core.output_parsers import BaseOutputParser
from langchain_core.prompt_values import ChatPromptValue, PromptValue
from langchain_core.runnables import Runnable, RunnableLambda
from pydantic import ConfigDict

from hfnb.errors import AnswerError
from hfnb.schema.answer import object_of
from hfnb.schema.read import Schema, described


def telling(answers: Schema) -> Runnable[Any, Any]:
    """Return a step that tells the model, with its prompt, what its answer is to be.

    As in `hfnb.run`, the words stand before a text, and at the end of a chat's last message.
    """
    words = described(answers)

    def told(value: Any) -> Any:
        if isinstance(value, PromptValue) and not isinstance(value, ChatPromptValue):
            value = value.to_string()
        if isinstance(value, str):
            return f"{words}\n\n{value}"
        messages = value.to_messages() if isinstance(value, PromptValue) else list(value)
        messages = convert_to_messages(messages)
        last = messages[-1]
        changed = last.model_copy(update={"content": f"{last.text}\n\n{words}"})
        return [*messages[:-1], changed]

    return RunnableLambda(told)


class AnswerParser(BaseOutputParser[Any]):
    """Makes of a text the object that a schema asks for.

    Args:
        answers: What the texts were held to.
    """

    answers: Schema

    model_config = ConfigDict(arbitrary_types_allowed=True)

    def parse(self, text: str) -> Any:
        """Return the object.

        Raises:
            OutputParserException: The text is not whole, or a validator refuses it.
        """
        try:
            return object_of(self.answers, text)
        except AnswerError as error:
            said = str(error)
            if error.text == text and said.startswith("The answer is no"):
                said = (
                    f"{said} It was held to the schema while it was written, so that something "
                    "ended it: give it more tokens with max_new_tokens, and no stop strings."
                )
            raise OutputParserException(said, llm_output=text) from error

    @property
    def _type(self) -> str:
        return "hfnb_answer"
