"""The panel. Events go in, a pure reducer makes the next state of them, and the views draw it."""
