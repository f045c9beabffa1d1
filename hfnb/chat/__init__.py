"""`hfnb.ChatHuggingFace`: a local model as a LangChain chat model."""
