"""Chat templates in the manner of published ones, rendered by transformers: what `perihelion export` must render alike.

The templates were written for this check. Each uses what templates of published checkpoints use: Python's methods of texts, lists
and maps, namespaces, macros, `generation` blocks, `break` and `continue`, dates, `tojson` with options. Writes one JSON file with
templates, conversations and what came out; `cargo test` reads the committed one, `.ci/run` one made a moment ago.

    templates.py --out FILE
"""

import argparse
import datetime
import json

import transformers
from transformers.utils import chat_template_utils

# A moment for templates that ask for the date.
NOW_S = 1_709_210_096

T = {}

T["turns"] = """{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% elif part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

T["counted pictures"] = """{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif %}<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}<|im_end|>
{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}{% set image_count.value = image_count.value + 1 %}{% if add_vision_id %}Picture {{ image_count.value }}: {% endif %}<|vision_start|><|image_pad|><|vision_end|>{% elif content['type'] == 'video' or 'video' in content %}{% set video_count.value = video_count.value + 1 %}{% if add_vision_id %}Video {{ video_count.value }}: {% endif %}<|vision_start|><|video_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>
{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

T["thinking with tools"] = """{%- macro render_content(content) -%}
    {%- if content is string -%}
        {{- content -}}
    {%- else -%}
        {%- for item in content -%}
            {%- if 'image' in item or item.type == 'image' -%}
                {{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
            {%- elif 'video' in item or item.type == 'video' -%}
                {{- '<|vision_start|><|video_pad|><|vision_end|>' -}}
            {%- elif 'text' in item -%}
                {{- item.text -}}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro -%}
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- render_content(messages[0].content) + '\\n\\n' }}
    {%- endif %}
    {{- "# Tools\\n\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|im_start|>system\\n' + render_content(messages[0].content) + '<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" %}
        {%- set content = render_content(message.content) %}
        {%- if not(content.startswith('<tool_response>') and content.endswith('</tool_response>')) %}
            {%- set ns.multi_step_tool = false %}
            {%- set ns.last_query_index = index %}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = render_content(message.content) %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}
                    {{- '\\n' }}
                {%- endif %}
                {%- if tool_call.function %}
                    {%- set tool_call = tool_call.function %}
                {%- endif %}
                {{- '<tool_call>\\n{"name": "' }}
                {{- tool_call.name }}
                {{- '", "arguments": ' }}
                {%- if tool_call.arguments is string %}
                    {{- tool_call.arguments }}
                {%- else %}
                    {{- tool_call.arguments | tojson }}
                {%- endif %}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n<think>\\n' }}
{%- endif %}"""

T["generation blocks"] = """{% for message in messages %}<|{{ message.role }}|>
{% if message.role == 'assistant' %}{% generation %}{{ message.content if message.content is string else message.content | map(attribute='text') | join('') }}<|end|>
{% endgeneration %}{% else %}{{ message.content if message.content is string else message.content | selectattr('type', 'equalto', 'text') | map(attribute='text') | join(' ') }}<|end|>
{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %}"""

T["generation with dashes and sets"] = """{%- set x = 'outer' -%}
{%- for message in messages -%}
{%- generation -%}
  {%- set x = 'inner' -%}
  [{{ x }}:{{ message.role | upper }}]
{%- endgeneration -%}
({{ x }})
{%- endfor -%}
{%+ generation %} end {%+ endgeneration +%}
."""

T["break and continue"] = """{%- for message in messages %}
{%- if message.role == 'system' %}{% continue %}{% endif %}
{%- if message.role == 'tool' %}{% break %}{% endif %}
[{{ loop.index }}/{{ loop.length }} {{ message.role }}]
{%- for c in 'abcdef' %}{% if c == 'd' %}{% break %}{% endif %}{% if c == 'b' %}{% continue %}{% endif %}{{ c }}{% endfor %}
{%- endfor %}"""

T["date"] = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] if messages[0]['content'] is string else messages[0]['content'][0]['text'] %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message | trim }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {%- if message['content'] is string %}
        {{- message['content'] | trim }}
    {%- else %}
        {%- for content in message['content'] %}
            {%- if content['type'] == 'image' %}{{- '<|image|>' }}{%- elif content['type'] == 'text' %}{{- content['text'] | trim }}{%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}"""

T["dates in other forms"] = """{% set today = strftime_now("%Y-%m-%d") %}{{ today }} {{ strftime_now('%A, %-d %B %y, %I:%M %p (%j)') }} {% set y, m, d = today.split('-') %}{{ d }}.{{ m }}.{{ y }}"""

T["first system into the first user"] = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% if messages[0]['content'] is string %}{% set first_user_prefix = messages[0]['content'] + '

' %}{% else %}{% set first_user_prefix = messages[0]['content'][0]['text'] + '

' %}{% endif %}{% set loop_messages = messages[1:] %}{% else %}{% set first_user_prefix = "" %}{% set loop_messages = messages %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ 'odd ' }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = "model" %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '
' + (first_user_prefix if loop.first else "") }}{% if message['content'] is string %}{{ message['content'] | trim }}{% elif message['content'] is iterable %}{% for item in message['content'] %}{% if item['type'] == 'image' %}{{ '<start_of_image>' }}{% elif item['type'] == 'text' %}{{ item['text'] | trim }}{% endif %}{% endfor %}{% else %}{{ raise_exception("Invalid content type") }}{% endif %}{{ '<end_of_turn>
' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model
'}}{% endif %}"""

T["alternation with namespaces"] = """{%- set ns = namespace(index=0, found=false, names=[]) -%}
{%- for message in messages -%}
    {%- if message.role in ['user', 'assistant'] -%}
        {%- set ns.index = ns.index + 1 -%}
        {%- set ns.names = ns.names + [message.role[:1]] -%}
        {%- if ns.index is odd -%}{%- set ns.found = true -%}{%- endif -%}
    {%- endif -%}
{%- endfor -%}
{{ ns.index }} {{ ns.found }} {{ ns.names | join('-') }} {{ ns.names }}"""

T["instructions"] = """{{ bos_token }}{% for message in messages if message.role != 'tool' %}{% if message['role'] == 'user' %}{{ '[INST] ' ~ (message['content'] if message['content'] is string else message['content'][-1]['text']) ~ ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' ~ message['content'] ~ eos_token }}{% else %}{{ '<<SYS>>' ~ message['content'] ~ '<</SYS>>' }}{% endif %}{% endfor %}"""

T["json with options"] = """{%- for message in messages %}
{{ message | tojson }}
{{ message | tojson(indent=2) }}
{{ message | tojson(sort_keys=true, separators=(',', ':')) }}
{{ message | tojson(ensure_ascii=True, indent=4) }}
{{ message.role | tojson }}
{%- endfor %}
{{ [1, 2.5, -0.0, 1e20, 1.5e-7, 123456789.125, true, none, {}, [], [[]], {'a': {}}] | tojson }}
{{ {'é': 'ü"\\\\\\n\\t<&>', 1: 2, 'none': none} | tojson }}
{{ {'b': [1, {'c': 2}], 'a': []} | tojson(indent=1) }}"""

T["items of maps"] = """{%- for message in messages %}
{%- for key, value in message.items() %}{{ key }}={{ value if value is string else value | length }};{% endfor %}
{%- for key in message.keys() %}{{ key }} {% endfor %}{{ message.values() | list | length }}
{{ message.get('role') }} {{ message.get('nothing') }} {{ message.get('nothing', 'default') }} {{ 'role' in message }} {{ message | items | list | length }}
{%- for key, value in message | dictsort %}<{{ key }}>{% endfor %}
{%- endfor %}"""

T["methods of texts"] = """{% set s = '  Hello, <b>World</b>\\n' %}[{{ s.strip() }}][{{ s.lstrip() }}][{{ s.rstrip() }}][{{ s.strip().lower() }}][{{ s.upper().strip() }}][{{ s.strip().title() }}][{{ 'hELLO wORLD'.capitalize() }}][{{ s.replace('l', 'L') }}][{{ s.replace('l', 'L', 1) }}][{{ s.strip().startswith('Hello') }}][{{ s.strip().endswith(('x', '</b>')) }}][{{ s.find('World') }}][{{ s.find('none') }}][{{ s.count('l') }}][{{ 'a,b,,c'.split(',') }}][{{ 'a,b,,c'.split(',', 1) }}][{{ 'a,b,,c'.rsplit(',', 1) }}][{{ ' a  b c '.split() }}][{{ ' a  b c '.split(none, 1) }}][{{ 'a b c'.split(maxsplit=1) }}][{{ 'x'.join(['1', '2', '3']) }}][{{ 'abc'.partition('b') | list }}][{{ 'a.b.c'.rpartition('.') | list }}][{{ 'abc'.partition('x') | join('|') }}][{{ 'prefix-x'.removeprefix('prefix-') }}][{{ 'x.txt'.removesuffix('.txt') }}][{{ '12'.isdigit() }}{{ ''.isdigit() }}{{ 'a1'.isalnum() }}{{ 'ab'.isalpha() }}{{ ' '.isspace() }}{{ 'ab'.islower() }}{{ 'AB1'.isupper() }}][{{ '7'.zfill(3) }}][{{ 'ab'.ljust(4) }}|{{ 'ab'.rjust(4, '.') }}][{{ 'a\\nb\\n'.splitlines() }}][{{ 'é€x'.find('x') }}{{ 'é€x'.index('x') }}{{ 'xéx'.rfind('x') }}][{{ '{} and {}'.format('a', 2) }}][{{ '--a--'.strip('-') }}{{ 'xxayx'.lstrip('x') }}{{ 'xxayx'.rstrip('yx') }}]"""

T["slices and places"] = """{{ messages[-1].role }} {{ messages[0]['role'][0] }} {{ 'abcdef'[1:4] }} {{ 'abcdef'[-2:] }} {{ 'abcdef'[::-1] }} {{ 'abcdef'[::2] }} {{ messages[1:] | length }} {{ messages[:-1] | length }} {{ messages[::-1][0].role }} {{ [3, 1, 2] | sort }} {{ [1, 2, 3][1:] }} {{ (1, 2, 3)[0] }} {{ range(3) | list }} {{ range(2, 10, 3) | list }} {{ [1, 2] + [3] }}"""

T["tests of kinds"] = """{%- for x in [1, 1.5, 'text', none, true, [1], {'a': 1}, ()] %}{{ x is string }} {{ x is number }} {{ x is integer }} {{ x is float }} {{ x is mapping }} {{ x is sequence }} {{ x is iterable }} {{ x is none }} {{ x is boolean }} {{ x is true }} {{ x is defined }};{% endfor %}
{{ nothing is defined }} {{ nothing is undefined }} {{ nothing }} {{ nothing | default('d') }} {{ '' | default('e', true) }} {{ tools is none }} {{ tools is defined }} {{ not tools }} {{ documents is none }} {{ messages is iterable and messages is not mapping and messages is not string }}"""

T["tools that may be none"] = """{%- if tools is not none and tools | length > 0 %}{{ 'tools: ' ~ tools | tojson }}
{% endif %}{%- if documents %}documents{% endif %}{% for m in messages %}{{ m.role }} {% endfor %}"""

T["tool calls"] = """{%- for message in messages %}
{%- if message.tool_calls is defined and message.tool_calls is not none %}
{%- for call in message.tool_calls %}
{%- set f = call.function if call.function is defined else call %}
<call name="{{ f.name }}">{% if f.arguments is mapping %}{% for name, value in f.arguments.items() %}{{ name }}={{ value | tojson if value is mapping or (value is iterable and value is not string) else value }}{{ ', ' if not loop.last }}{% endfor %}{% else %}{{ f.arguments }}{% endif %}</call>
{%- endfor %}
{%- endif %}
{%- endfor %}"""

T["recursive macros"] = """{%- macro show(value, depth=0) -%}
{%- if value is mapping -%}{ {%- for k, v in value.items() -%}{{ k }}: {{ show(v, depth + 1) }}{% if not loop.last %}, {% endif %}{%- endfor -%} }
{%- elif value is string -%}"{{ value | replace('"', "'") }}"
{%- elif value is iterable -%}[{%- for v in value -%}{{ show(v, depth=depth + 1) }}{{ ' ' if not loop.last else '' }}{%- endfor -%}]
{%- else -%}{{ value }}@{{ depth }}
{%- endif -%}
{%- endmacro -%}
{{ show(messages) }}"""

T["call blocks"] = """{%- macro turn(role) -%}<{{ role }}>{{ caller() }}</{{ role }}>{%- endmacro -%}
{%- for m in messages -%}{%- call turn(m.role) -%}{{ m.content | string | length > 3 }}{%- endcall -%}{%- endfor -%}"""

T["filters"] = """{{ messages | map(attribute='role') | list }} {{ messages | map(attribute='role') | unique | join(',') }} {{ messages | selectattr('role', 'in', ['user', 'tool']) | list | length }} {{ messages | rejectattr('role', 'equalto', 'user') | map(attribute='role') | first }} {{ messages | map(attribute='nothing', default='-') | join }} {{ ['b', 'a'] | sort | join }} {{ ['a', 'b'] | last }} {{ [1, 2, 3] | sum }} {{ [3, 1] | max }} {{ [3, 1] | min }} {{ 'abc' | upper }} {{ ' x ' | trim }} {{ 'x' | default('y') }} {{ 'a-b' | replace('-', '+') }} {{ 3.7 | int }} {{ '42' | int + 1 }} {{ 3.14159 | round(2) }} {{ 'hello world' | title }} {{ 'hello' | capitalize }} {{ [1, 2, 3, 4] | batch(2) | list | length }} {{ 'abc' | list }} {{ 'a b' | wordcount }} {{ 5 | string ~ '!' }} {{ -3 | abs }} {{ 'abc' | reverse }} {{ ['x', 'y'] | map('upper') | join('/') }} {{ [0, 1, '', 'a'] | select | list }} {{ '%s: %d' | format('a', 3) }} {{ 'line\\nnext' | indent(2) }} {{ {'a': 1, 'b': 2} | length }} {{ 'x' | safe }} {{ '<' | e }}"""

T["operators"] = """{{ 7 // 2 }} {{ 7 % 3 }} {{ 2 ** 5 }} {{ 7 / 2 }} {{ -7 // 2 }} {{ 'a' ~ 1 ~ none ~ true }} {{ 'ab' * 2 }} {{ 'a' in 'abc' }} {{ 'x' not in ['x'] }} {{ 1 < 2 and 2 < 3 }} {{ 1 if false }}| {{ none }} {{ true }} {{ false }} {{ 1.0 }} {{ 1e3 }} {{ [none, true, 'a', 1.5] }} {{ {'a': none, 'b': [1, 'x']} }} {{ [1, "it's", 'a\\n"'] }} {{ not none }} {{ 'b' > 'a' }} {{ [1, 2] == [1, 2] }} {{ 0 or 'else' }} {{ 'first' and 'second' }}"""

T["loops"] = """{%- for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.cycle('odd', 'even') }}{{ loop.previtem.role if loop.previtem is defined }}>{{ loop.nextitem.role if not loop.last }}{% else %}none{% endfor %}{% for x in [] %}x{% else %}empty{% endfor %}{%- for k, v in {'a': 1, 'b': 2}.items() %} {{ k }}{{ v }}{% endfor %}{% for a, (b, c) in [(1, (2, 3))] %} {{ a }}{{ b }}{{ c }}{% endfor %}"""

T["white space"] = """
{# a comment #}
{%- set a = 1 %}
   {% if a == 1 %}
   kept
   {% endif %}
{%+ if a %}   plus{% endif %}
  {%- for i in [1, 2] -%}
    <{{ i }}>
  {%- endfor %}
 {{ a }}
 {{- a -}}
  end
{% raw %}{{ not rendered }} {% generation %}{% endraw %}
"""

T["set blocks"] = """{% set text %}a{{ messages | length }}b
{% endset %}[{{ text | trim }}][{{ text.strip().upper() }}]{% set shout | upper %}loud{% endset %}{{ shout }}{% set a, b = 1, 2 %}{{ a + b }}{% filter upper %}filtered {{ a }}{% endfilter %}{% with x = 3, y = 4 %}{{ x * y }}{% endwith %}"""

T["dict and namespace"] = """{%- set d = dict(a=1, b='x') -%}{{ d.a }}{{ d['b'] }}{%- set ns = namespace(d) -%}{%- set ns.a = 5 -%}{{ ns.a }}{{ ns.b }}{{ dict([('k', 'v')])['k'] }}{{ {'x': 1}.x }}{{ d.get('zzz', 'none here') }}{% set joiner = joiner(', ') %}{% for m in messages %}{{ joiner() }}{{ m.role }}{% endfor %}{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}"""

T["content of every shape"] = """{%- for message in messages -%}
{%- set content = message['content'] -%}
{%- if content is none -%}(none)
{%- elif content is string -%}{{ content }}
{%- elif content is mapping -%}{{ content.text }}
{%- elif content is iterable -%}
{%- set texts = namespace(all='') -%}
{%- for part in content -%}{%- if part is string -%}{%- set texts.all = texts.all ~ part -%}{%- elif part.type == 'text' -%}{%- set texts.all = texts.all ~ part['text'] -%}{%- elif part.type in ('image', 'video') -%}{%- set texts.all = texts.all ~ '<' ~ part.type ~ '>' -%}{%- endif -%}{%- endfor -%}
{{ texts.all }}
{%- endif -%}
{{ eos_token }}
{%- endfor -%}"""

T["thought is cut from history"] = """{%- for message in messages -%}
{%- if message['role'] == 'assistant' and message['content'] is string -%}
{%- set content = message['content'] -%}
{%- if '</think>' in content -%}{%- set content = content.split('</think>', 1)[1] | trim -%}{%- endif -%}
<assistant>{{ content }}
{%- elif message['role'] == 'user' -%}<user>{{ message['content'] if message['content'] is string else (message['content'] | selectattr('text', 'defined') | map(attribute='text') | join('\\n')) }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<assistant><think>
{% endif -%}"""

T["switch to think"] = """{%- set enable_thinking = enable_thinking if enable_thinking is defined else true -%}{{ bos_token }}{%- for m in messages -%}<{{ m.role }}>{%- endfor -%}{%- if add_generation_prompt -%}<assistant>{%- if enable_thinking is defined and enable_thinking is false -%}<think>

</think>

{% elif enable_thinking %}<think>
{% endif -%}{%- endif -%}"""

T["exceptions that are not raised"] = """{%- if messages | length == 0 -%}{{ raise_exception('no messages') }}{%- endif -%}{%- for m in messages -%}{%- if m.role not in ['system', 'user', 'assistant', 'tool'] -%}{{ raise_exception('unknown role ' ~ m.role) }}{%- endif -%}{{ m.role }}{{ ',' if not loop.last }}{%- endfor -%}"""

T["media first"] = """{%- for message in messages -%}{{ message.role.capitalize() }}:{%- if message.content is string -%}{{ ' ' + message.content }}{%- else -%}{%- set media = message.content | selectattr('type', 'in', ['image', 'video']) | list -%}{%- for m in media -%}<{{ m.type }}{{ loop.index if media | length > 1 }}>{%- endfor -%}{%- for t in message.content | selectattr('type', '==', 'text') -%}{{ ' ' + t.text.strip() }}{%- endfor -%}{%- endif -%}<end_of_utterance>
{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"""

T["lines of a text"] = """{%- for message in messages -%}{%- if message.content is string -%}{%- for line in message.content.split('\\n') -%}{{ '> ' ~ line.rstrip() ~ '\\n' if line.strip() }}{%- endfor -%}{%- for line in message.content.splitlines() -%}{{ loop.index }}:{{ line | trim | length }} {% endfor -%}{%- endif -%}{%- endfor -%}"""

T["special tokens"] = """{{ bos_token }}{% for m in messages %}{{ (eos_token ~ bos_token) if not loop.first }}{{ m.role[0] | upper }}{% endfor %}{{ eos_token }}{{ pad_token if pad_token is defined and pad_token else '' }}{{ unk_token }}"""

IMAGE = {"type": "image"}
VIDEO = {"type": "video"}


def text(words):
    return {"type": "text", "text": words}


CONVERSATIONS = [
    [{"role": "user", "content": [text("What is this?")]}],
    [
        {"role": "system", "content": "You are a robot's eyes.\n"},
        {"role": "user", "content": [IMAGE, VIDEO, text(" Is the path clear?\nSay “yes” or no. ")]},
    ],
    [
        {"role": "system", "content": " é  "},
        {"role": "user", "content": "one\n  two \n\nthree"},
        {"role": "assistant", "content": "<think>\nhm: 1 < 2\n</think>\n\nIt is <b>red</b>."},
        {"role": "user", "content": [text("And"), IMAGE, IMAGE, text("now?")]},
    ],
    [
        {"role": "user", "content": "Where?"},
        {
            # Under this name too, as transformers passes it on.
            "thinking": "I should look.",
            "role": "assistant",
            "content": "",
            "reasoning_content": "I should look.",
            "tool_calls": [
                {
                    "type": "function",
                    "function": {"name": "look", "arguments": {"at": "left", "n": 2, "box": [1, 2.5], "é": {"a": None}}},
                },
                {"name": "wait", "arguments": "{}"},
            ],
        },
        {"role": "tool", "name": "look", "content": "a wall"},
        {"role": "tool", "name": "wait", "content": "<tool_response>odd</tool_response>"},
    ],
]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": None, "unk_token": "<unk>"}


class Frozen(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.fromtimestamp(NOW_S, datetime.timezone.utc)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    chat_template_utils.datetime = Frozen
    cases = []
    for name, template in T.items():
        rendered = []
        for conversation in CONVERSATIONS:
            for add_generation_prompt in (False, True):
                # What the processor does before it renders reaches the template too; here the template alone is compared.
                try:
                    [words], _ = chat_template_utils.render_jinja_template(
                        [conversation],
                        chat_template=template,
                        add_generation_prompt=add_generation_prompt,
                        **TOKENS,
                    )
                    rendered.append({"text": words})
                except Exception as error:  # a template that refuses a conversation is compared in that
                    rendered.append({"error": f"{type(error).__name__}: {error}"})
        cases.append({"name": name, "template": template, "rendered": rendered})
    fixture = {
        "origin": f"tests/reference/templates.py, transformers {transformers.__version__}",
        "now_s": NOW_S,
        "tokens": TOKENS,
        "conversations": CONVERSATIONS,
        "cases": cases,
    }
    with open(options.out, "w", encoding="utf-8") as file:
        json.dump(fixture, file, ensure_ascii=False, indent=1)
        file.write("\n")
    errors = [(case["name"], r["error"]) for case in cases for r in case["rendered"] if "error" in r]
    print(f"{len(cases)} templates, {len(CONVERSATIONS) * 2} conversations each, {len(errors)} refusals")
    for name, error in errors:
        print(f"  {name}: {error}")


if __name__ == "__main__":
    main()
