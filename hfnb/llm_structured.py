"""Answers of the LLM as objects: the parser behind `HuggingFacePipeline.with_structured_output`."""

from __future__ import annotations

from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.output_parsers import BaseOutputParser
from pydantic import ConfigDict

from hfnb.errors import AnswerError
from hfnb.schema.answer import object_of
from hfnb.schema.read import Schema


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
