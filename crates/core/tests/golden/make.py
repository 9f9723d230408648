#!/usr/bin/env python3
"""Writes app_compose.json, the golden vectors of ../golden_compose.rs. Python 3 alone, no code of ours.

Each vector says what a client sends (`input`, `cvm_name`, `env_keys`) and what the document must
hold, written down here by hand. Bytes: json.dumps(sort_keys, compact, not ASCII-escaped). Hash:
hashlib.sha256 over them. `node check.mjs` then computes every hash again with the getComposeHash of
npm @phala/cloud and fails on the first that differs.
"""

import hashlib
import json
import pathlib

NGINX = "services:\n  web:\n    image: nginx\n"

# What stands in the document of somebody who says nothing.
DEFAULTS = {
    "allowed_envs": [],
    "docker_compose_file": NGINX,
    "features": ["kms", "tproxy-net"],
    "gateway_enabled": True,
    "kms_enabled": True,
    "local_key_provider_enabled": False,
    "manifest_version": 2,
    "name": "my-app",
    "no_instance_id": False,
    "public_logs": True,
    "public_sysinfo": True,
    "public_tcbinfo": True,
    "runner": "docker-compose",
    "secure_time": False,
    "storage_fs": "zfs",
    "tproxy_enabled": True,
}
LEFT_OUT = object()

vectors = []


def vector(name, given, expected=None, cvm_name="my-app", env_keys=()):
    """`given` over a plain nginx file; `expected`: where the document differs from DEFAULTS."""
    sent = {"docker_compose_file": NGINX, **given}
    sent = {key: value for key, value in sent.items() if value is not LEFT_OUT}
    held = {**DEFAULTS, **(given if expected is None else expected)}
    held = {key: value for key, value in held.items() if value is not LEFT_OUT}
    text = json.dumps(held, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    vectors.append({
        "name": name,
        "cvm_name": cvm_name,
        "env_keys": list(env_keys),
        "input": sent,
        "document": text,
        "sha256": hashlib.sha256(text.encode("utf-8")).hexdigest(),
    })


NO_GATEWAY = {"features": ["kms"], "gateway_enabled": False, "tproxy_enabled": False}
EVERY = {
    "allowed_envs": ["API_KEY", "_B", "c3"],
    "default_gateway_domain": "gw.example.com",
    "features": ["kms", "tproxy-net", "x-own"],
    "gateway_enabled": True,
    "init_script": "modprobe wireguard\n",
    "kms_enabled": True,
    "local_key_provider_enabled": True,
    "manifest_version": 1,
    "name": "inner-name",
    "no_instance_id": True,
    "pre_launch_script": "#!/bin/sh\nexport A=1\n",
    "public_logs": False,
    "public_sysinfo": False,
    "public_tcbinfo": False,
    "runner": "docker-compose",
    "salt": "pepper",
    "secure_time": True,
    "storage_fs": "ext4",
    "tproxy_enabled": True,
}

vector("nothing said", {})
vector("every field", EVERY)
vector(
    "every field of a bash app, gateway and keys off",
    {**EVERY, **NO_GATEWAY, "runner": "bash", "bash_script": "exec sleep 1\n",
     "docker_compose_file": LEFT_OUT, "kms_enabled": False, "features": ["tproxy-net", "kms"]},
    {**EVERY, **NO_GATEWAY, "runner": "bash", "bash_script": "exec sleep 1\n",
     "docker_compose_file": LEFT_OUT, "kms_enabled": False, "features": []},
)
vector("the cvm's name fills an empty one", {"name": ""}, {"name": "Other-Name-1"}, "Other-Name-1")

vector(
    "text of every plane stays unescaped",
    {"name": "Grüße", "salt": "naïve ﬁ Ω日本語 עברית 🦀 𝔘 e\u0301 \ufeff \uffff \U0010ffff",
     "docker_compose_file": NGINX + "# 漢字 — “quotes” 👩\u200d💻\n"},
)
vector("control characters", {"pre_launch_script": "".join(map(chr, range(0x20))) + "\x7f\x80\x85\x9f"})
vector(
    "line separators of javascript",
    {"pre_launch_script": "a\u2028b\u2029c", "salt": "\u2028", "docker_compose_file": NGINX + "# \u2028 \u2029\n"},
)
vector(
    "quotes, backslashes, slashes, markup",
    {"pre_launch_script": "echo \"a\\\"b\" 'c' \\n \\u0041 </script> <b>&amp;</b>\n",
     "docker_compose_file": "services:\n  web:\n    image: \"nginx\"\n    command: 'sh -c \"echo \\\"x\\\": y\"'\n",
     "salt": '{"a": "b": ", ": "\\\\"}'},
)
vector(
    "line ends, tabs and trailing blanks stay as they are",
    {"docker_compose_file": "services:\r\n  web:\r\n    image: nginx   \r\n\r\n# end\t\r\n",
     "pre_launch_script": "\techo 1 \r\n\n\n"},
)
vector(
    "yaml is text, not values",
    {"docker_compose_file": "services:\n  web: &w\n    image: nginx\n    init: yes\n    mem_limit: 1e9\n"
     "    oom_score_adj: 010\n  two:\n    <<: *w\n    hostname: !!str 1.50\n"},
)

EMPTY = {key: "" for key in
         ["bash_script", "pre_launch_script", "init_script", "salt", "default_gateway_domain", "name"]}
vector("empty texts are no texts", EMPTY, {})
vector("blank is not empty", {"pre_launch_script": " ", "salt": "\n"})

vector("gateway: gateway_enabled false", {"gateway_enabled": False}, NO_GATEWAY)
vector("gateway: tproxy_enabled false", {"tproxy_enabled": False}, NO_GATEWAY)
vector("gateway: features without tproxy-net", {"features": ["kms"]}, NO_GATEWAY)
vector("gateway: gateway_enabled goes before tproxy_enabled",
       {"gateway_enabled": False, "tproxy_enabled": True}, NO_GATEWAY)
vector("gateway: a boolean goes before the features", {"gateway_enabled": True, "features": ["x-own"]},
       {"features": ["x-own", "kms", "tproxy-net"]})
vector("gateway: features in another order stay in it", {"features": ["tproxy-net", "kms"]})
vector("no kms", {"kms_enabled": False}, {"kms_enabled": False, "features": ["tproxy-net"]})
vector("no features", {"features": []}, {**NO_GATEWAY})

vector("storage: none named", {"storage_fs": None}, {"storage_fs": LEFT_OUT})
vector("storage: ext4", {"storage_fs": "ext4"})
vector("manifest 1", {"manifest_version": 1})
vector("manifest 3 is text", {"manifest_version": 3}, {"manifest_version": "3"})
vector("env names of both lists, each once, in order",
       {"allowed_envs": ["B", "A", "B"]}, {"allowed_envs": ["B", "A", "C"]}, env_keys=["A", "C"])

path = pathlib.Path(__file__).with_name("app_compose.json")
path.write_text(json.dumps(vectors, indent=1, ensure_ascii=True) + "\n")
print(f"{len(vectors)} vectors")
