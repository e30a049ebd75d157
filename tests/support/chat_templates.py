"""Chat templates as different models have them; each does something with messages or tools that ours must survive."""

from pathlib import Path

TINY = Path(__file__).parents[2].joinpath("tooln1", "tiny", "chat_template.jinja").read_text(encoding="utf-8")
LIKE_QWEN = """{%- if tools %}
    {{- '<|im_start|>system\\nTOOLS ' }}{%- for tool in tools %}{{- tool | tojson }}{%- endfor %}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\nDefault.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'user' or message.role == 'assistant' and not message.tool_calls %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.tool_calls %}
        {{- 'CALLS' }}{{- message.tool_calls | tojson }}
    {%- elif message.role == 'tool' %}
        {%- if loop.index0 == 0 or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""
LIKE_LLAMA = """{{- bos_token }}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}{%- set messages = messages[1:] %}
{%- else %}{%- set system_message = '' %}{%- endif %}
{{- '<|start|>system<|end|>\\n\\n' }}
{%- if tools is not none %}{{- 'Environment: ipython\\n' }}{%- endif %}
{{- system_message }}
{%- for message in messages %}
    {%- if message.role == 'tool' %}{{- '<|start|>ipython<|end|>\\n\\n' }}
        {%- if message.content is mapping or message.content is iterable %}{{- message.content | tojson }}{%- endif %}
    {%- else %}
        {{- '<|start|>' + message['role'] + '<|end|>\\n\\n' + message['content'] | trim + '<|eot|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant<|end|>\\n\\n' }}{%- endif %}
"""
WITH_MACRO = """
 {% macro say(message) %}{{ message.role }}: {{ message.content }}
{{ messages | length }} {{ tools is none or not tools }}
{% endmacro %}{% for message in messages %}{{ say(message) }}{% endfor %}"""


OWN = {"tiny": TINY, "Qwen2.5": LIKE_QWEN, "Llama-3": LIKE_LLAMA, "macro": WITH_MACRO}
