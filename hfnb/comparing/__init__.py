"""The same rows through several models: `hfnb.compare`, and `hfnb.recommend` over it."""
