"""A prompt for every row of a DataFrame: from columns to prompts, through an engine, and back."""
