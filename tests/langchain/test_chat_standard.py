"""LangChain's own standard tests for chat models, with a model that knows their conversations.

What is left out is switched off by the suite's own properties: hfnb's models read and write text,
so there are no pictures, sounds, videos and files, in messages or in tools' results.
"""

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from hfnb import ChatHuggingFace
from tests.langchain import chat_tool_caller


class TestUnit(ChatModelUnitTests):
    """What LangChain asks of a chat model before it is called.

    `test_init_from_env` does not apply: there is no key to take from the environment. Neither does
    `test_serdes`: a model's weights can't be written into a JSON file.
    """

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatHuggingFace

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"llm": chat_tool_caller.pipeline()}


class TestIntegration(ChatModelIntegrationTests):
    """What LangChain asks of a chat model's answers.

    `test_stream_time` does not apply: it measures a recorded service.
    """

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatHuggingFace

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"llm": chat_tool_caller.pipeline()}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return False  # a chat model has one model in memory, and refuses to be another for a call
