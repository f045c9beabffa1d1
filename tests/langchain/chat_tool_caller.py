"""The tiny model that calls tools: `scripts/train_tool_caller.py` made it for these tests."""

from functools import cache
from pathlib import Path

from hfnb import HuggingFacePipeline

FOLDER = Path(__file__).parent / "tool_caller"


@cache
def pipeline() -> HuggingFacePipeline:
    """Return the model, loaded once."""
    return HuggingFacePipeline.from_model_id(
        str(FOLDER),
        "text-generation",
        device=-1,
        model_kwargs={"dtype": "float32"},
        pipeline_kwargs={"max_new_tokens": 128},
    )
