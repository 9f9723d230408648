// The hostile inputs of `inputs/`. They are read by run.mjs and by a test of the engine crate
// (crates/engine/src/node/docker/derive/hostile.rs). An input:
//
//   ## name
//   # refused: a | b     the refusal has these texts
//   # runs               it is legal, and nothing comes of it
//   # env: KEY=VALUE     a variable that is sent sealed
//   # script: …          the pre-launch script
//   # restart            it is restarted, and nothing comes of it
//   # service            the rest is what service `web` has, not a whole file
//
// and then the file, and after a line `## then` the file that it is updated to. In both stand `@WEB@`
// (service web with the probe), `@IMAGE@` and the canaries' names.

import fs from "node:fs";

const dir = new URL("inputs/", import.meta.url);

/** All inputs, with these words put in. */
export function inputs(words) {
  const found = fs.readdirSync(dir).sort().flatMap((file) => {
    const kind = file.replace(/\.txt$/, "");
    const parts = fs.readFileSync(new URL(file, dir), "utf8").split(/^## (?!then$)/m).slice(1);
    return parts.map((part) => input(kind, part, words));
  });
  const names = new Set();
  for (const { name } of found) {
    if (names.has(name)) throw new Error(`two inputs are called ${name}`);
    names.add(name);
  }
  return found;
}

function input(kind, part, words) {
  const lines = part.split("\n");
  const one = { kind, name: lines.shift(), env: [], refused: null, runs: false, script: "", service: false };
  while (lines[0].startsWith("# ")) {
    const [, key, value] = /^# (\w+):? ?(.*)$/.exec(lines.shift());
    if (key === "env") one.env.push(filled(value, words));
    else if (key === "refused") one.refused = filled(value, words).split(" | ");
    else if (key === "script") one.script = filled(value, words);
    else if (key === "runs" || key === "service" || key === "restart") one[key] = true;
    else throw new Error(`${one.name}: ${key}`);
  }
  if (one.runs === Boolean(one.refused)) throw new Error(`${one.name} needs one outcome`);
  const body = one.service ? `services:\n@WEB@\n${indented(lines)}` : lines.join("\n");
  const web = ["  web:"];
  if (!/^ +image:/m.test(one.service ? indented(lines) : "")) web.push("    image: '@IMAGE@'");
  if (!body.includes("stop_grace_period")) web.push("    stop_grace_period: 1s");
  if (!/^ +(command|entrypoint):/m.test(one.service ? indented(lines) : "")) web.push(`    command: ${PROBE}`);
  const texts = body.split(/^## then\n/m);
  [one.text, one.then] = texts.map((text) => filled(text.replace("@WEB@", web.join("\n")), words));
  return one;
}

const indented = (lines) => lines.map((line) => (line ? `    ${line}` : line)).join("\n");

const filled = (text, words) =>
  text.replaceAll(/@([A-Z_]+)@/g, (all, word) => {
    if (!(word in words)) throw new Error(`${all} is not known`);
    return words[word];
  });

// Reads and writes at /h, whatever is there.
const PROBE =
  "[sh, -c, 'cat /h /h/* /run/secrets/* 2>&1; env; echo pwned > /h/pwned; echo pwned > /h; echo probed; sleep 1000']";
