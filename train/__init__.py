"""From captions and photographs to a checkpoint."""
