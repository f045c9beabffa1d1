"""The models that come with hfnb, and a demo that shows the main job: ``python -m hfnb.demo``."""
