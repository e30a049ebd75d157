"""verl without an accelerator: `cpu` patches verl and vLLM, `fork` starts their processes fast.

`environment` is for the driver of a run, which never imports verl.
"""
