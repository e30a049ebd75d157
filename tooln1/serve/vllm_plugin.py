"""For ``vllm serve --tool-parser-plugin`` and ``--reasoning-parser-plugin``: makes ``tool_n1`` known by name.

vLLM loads the file by its path, in several processes; the parsers are imported where they are used.
"""

from vllm.reasoning import ReasoningParserManager
from vllm.tool_parsers import ToolParserManager

PARSERS = "tooln1.serve.vllm_parsers"

ReasoningParserManager.register_lazy_module("tool_n1", PARSERS, "ToolN1ReasoningParser")
ToolParserManager.register_lazy_module("tool_n1", PARSERS, "ToolN1ToolParser")
ToolParserManager.register_lazy_module("tool_n1_direct", PARSERS, "ToolN1DirectToolParser")
