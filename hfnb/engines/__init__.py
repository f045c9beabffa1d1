"""Engines take requests and yield completions as they finish. Everything else is a face over one.

`base` has the protocol and its data, `registry` makes the engine for a model, and the other
modules are one engine each, imported only when a model asks for it.
"""
