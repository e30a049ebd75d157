"""verl without an accelerator: `cpu` patches verl and vLLM, `fork` starts their processes fast.

`environment` and `versions` are for the driver of a run: importing them never imports verl.
"""
