"""What models there are: packaged, in folders, exported, in the HF cache, and on the Hub."""
