"""What an answer is to be: a schema in any of its forms, read into a grammar and into columns."""
