"""The recording proxy: what passes between any client and its ComfyUI, as it came, with its entries in a log."""
