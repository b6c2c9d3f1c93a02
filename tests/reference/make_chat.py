"""Writes chat_cases.h: conversations as models' own chat templates render them in transformers' way, and those templates' texts, cut to what
they are recognised by: python3 tests/reference/make_chat.py llama.cpp's folder, which has most of the templates"""
import os
import re
import sys

from jinja2.sandbox import ImmutableSandboxedEnvironment

source = sys.argv[1]
here = os.path.dirname(os.path.abspath(__file__))
tests = open(os.path.join(source, "tests/test-chat-template.cpp"), encoding="utf-8").read()


def of_tests(name):
    """The template behind a name in llama.cpp's own tests, a C string."""
    text = tests[tests.index('"' + name):]
    text = re.search(r'template_str= \*/ (?:U8C\()?"((?:[^"\\]|\\.)*)"', text).group(1)
    return text.replace('\\"', '"').replace("\\\\", "\0").replace("\\n", "\n").replace("\0", "\\")


def of_file(name):
    return open(os.path.join(source, "models/templates", name + ".jinja"), encoding="utf-8").read()


QWEN2 = ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are a helpful assistant."
         "<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
         "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
LLAMA2 = ("{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}"
          "{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
          "{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
          "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + "
          "' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}")
SMOLLM2 = QWEN2.replace("You are a helpful assistant.", "You are a helpful AI assistant named SmolLM, trained by Hugging Face")
# Ours, whose it is, its Jinja; which of the conversations below it takes.
ALL, ALONE, GIVEN = "012345", "024", "135"
templates = [
    ("llama2", "Llama-2-7b-chat-hf", LLAMA2, ALL),
    ("llama3", "Meta-Llama-3-8B-Instruct", of_tests("Llama-3"), ALL),
    ("llama3.1", "Llama-3.1-8B-Instruct", of_file("meta-llama-Llama-3.1-8B-Instruct"), ALL),
    ("llama3.1", "Llama-3.2-3B-Instruct", of_file("meta-llama-Llama-3.2-3B-Instruct"), ALL),
    ("llama3.1", "Llama-3.3-70B-Instruct", of_file("meta-llama-Llama-3.3-70B-Instruct"), ALL),
    ("mistral", "Mistral-7B-Instruct-v0.2, the first", of_tests("mistralai/Mistral-7B-Instruct-v0.2 (NOTE"), ALONE),
    ("mistral-v1", "Mistral-7B-Instruct-v0.2", of_tests("mistralai/Mistral-7B-Instruct-v0.2 (mistralai"), ALL),
    ("mistral-v3", "Mistral-Large-Instruct-2407", of_tests("Mistral-Large-Instruct-2407"), ALL),
    ("mistral-v3-tekken", "Mistral-Nemo-Instruct-2407", of_file("mistralai-Mistral-Nemo-Instruct-2407"), ALL),
    ("mistral-v7", "Mistral-Large-Instruct-2411", of_tests("mistralai/Mistral-Large-Instruct-2411"), ALL),
    ("mistral-v7-tekken", "Mistral-Small-3.2-24B-Instruct-2506", of_file("Mistral-Small-3.2-24B-Instruct-2506"), GIVEN),
    ("chatml", "OpenHermes-2.5-Mistral-7B", of_tests("teknium/OpenHermes-2.5-Mistral-7B"), ALL),
    ("smollm2", "SmolLM2-1.7B-Instruct", SMOLLM2, ALL),
    ("qwen3", "Qwen3-0.6B", of_file("Qwen-Qwen3-0.6B"), ALL),
    ("qwen2", "Qwen2-7B-Instruct", QWEN2, ALL),
    ("qwen2.5", "Qwen2.5-7B-Instruct", of_file("Qwen-Qwen2.5-7B-Instruct"), ALL),
]
system, asked = {"role": "system", "content": " You are a helpful assistant"}, {"role": "user", "content": "Hello"}
conversations = [
    [asked],
    [system, asked],
    [asked, {"role": "assistant", "content": "Hi there"}, {"role": "user", "content": "Who are you"}],
    [system, {"role": "user", "content": " Hello "}, {"role": "assistant", "content": "   I am an assistant   "}, {"role": "user", "content": " Another  question \n"}],
    [{"role": "user", "content": "\u3000 What is 2 + 2?\u00a0\n"}, {"role": "assistant", "content": "<think>\nTwo and two.\n</think>\n\n Four. \u2003"},
     {"role": "user", "content": "\x1f\tAnd 3 + 3?"}, {"role": "assistant", "content": "a</think>b</think>\n\nSix <think> no"},
     {"role": "user", "content": "\u65e5\u672c\u3000"}],
    [{"role": "system", "content": " \n"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "\n"}, {"role": "user", "content": "b"},
     {"role": "assistant", "content": "[INST] \"c\" "}, {"role": "user", "content": "d"}],
]


def refuse(message):
    raise ValueError(message)


environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
environment.globals["raise_exception"] = refuse


def render(name, jinja, messages):
    bos, eos = ("<|begin_of_text|>", "<|eot_id|>") if name.startswith("llama3") else ("<s>", "</s>")
    day = {"strftime_now": lambda form: ""} if name == "mistral-v7-tekken" else {}  # without one the day is Llama's default
    return environment.from_string(jinja).render(messages=messages, bos_token=bos, eos_token=eos, add_generation_prompt=True, **day)


def quoted(text):
    out = []
    for b in text.encode("utf-8"):
        c = chr(b)
        out.append({"\n": "\\n", '"': '\\"', "\\": "\\\\", "\t": "\\t"}.get(c, c if " " <= c <= "~" else "\\%03o" % b))
    return '"' + "".join(out) + '"'


def marks(jinja):
    """The template's literals that tell it from others."""
    found = [m.group(0) for m in re.finditer(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", jinja)]
    kept = [f for f in dict.fromkeys(found) if re.search(r"\[[A-Z/]|<\||<<SYS|Cutting|You are|</think>", f)]
    return " ".join(f if len(f) < 100 else f[:100] + f[0] for f in kept)


with open(os.path.join(here, "chat_cases.h"), "w", encoding="utf-8") as out:
    out.write("/* Written by make_chat.py: what models' own chat templates make of conversations. */\n")
    out.write("static const struct {\n    const char *name, *model, *marks; /* ours, whose it is, what its Jinja text has */\n"
              "    const char *texts[6];             /* of the conversations; NULL: it refuses that one, or has it otherwise */\n} chat_cases[] = {\n")
    for name, model, jinja, which in templates:
        texts = [quoted(render(name, jinja, c)) if str(i) in which else "NULL" for i, c in enumerate(conversations)]
        out.write("    {%s, %s,\n     %s,\n     {%s}},\n" % (quoted(name), quoted(model), quoted(marks(jinja)), ",\n      ".join(texts)))
    out.write("};\n")
