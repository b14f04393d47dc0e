"""Names of the files of a dictionary in sae-lens format."""

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
