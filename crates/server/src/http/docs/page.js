// Shows /openapi.json: operations by tag, then the types they speak of. No library, no network
// beyond this server.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];

/** An element with attributes and children; text stays text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== null));
  return element;
}

/** Text with `code` in it. */
function words(text = "") {
  return text.split("`").map((part, index) => (index % 2 ? make("code", {}, part) : part));
}

function paragraphs(text = "", attributes = {}) {
  return text.split("\n\n").filter(Boolean).map((part) => make("p", attributes, words(part)));
}

const nameOf = (reference) => reference.split("/").pop();

/** A reference within the document, followed. */
function follow(spec, value) {
  if (!value?.$ref) return value;
  return value.$ref.slice(2).split("/").reduce((at, key) => at[key], spec);
}

/** A schema in a few words, types linked. */
function typeOf(schema = {}) {
  if (schema.$ref) {
    const name = nameOf(schema.$ref);
    return [make("a", { href: `#type-${name}` }, name)];
  }
  const choices = schema.oneOf ?? schema.anyOf ?? schema.allOf;
  if (choices) return choices.flatMap((choice, index) => [index ? " | " : "", ...typeOf(choice)]);
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(" | ")];
  const kinds = [schema.type ?? (schema.properties ? "object" : "any")].flat();
  return kinds.flatMap((kind, index) => [index ? " | " : "", ...kindOf(kind, schema)]);
}

function kindOf(kind, schema) {
  if (kind === "array") return [...typeOf(schema.items), "[]"];
  if (kind === "object" && typeof schema.additionalProperties === "object") {
    return ["{ string: ", ...typeOf(schema.additionalProperties), " }"];
  }
  return [kind];
}

const bounds = ({ minimum, maximum, default: otherwise } = {}) =>
  [
    minimum !== undefined && maximum !== undefined ? `${minimum} to ${maximum}.` : undefined,
    minimum === undefined && maximum !== undefined ? `At most ${maximum}.` : undefined,
    otherwise !== undefined ? `Otherwise \`${otherwise}\`.` : undefined,
  ].filter(Boolean).join(" ");

const ours = (value) => (value["x-casemate"] ? make("span", { class: "ours" }, "Casemate") : undefined);

function row(name, must, type, about, mark) {
  const star = must ? make("span", { class: "must", title: "required" }, "*") : undefined;
  return make("tr", {},
    make("td", {}, name, star), make("td", {}, type), make("td", {}, words(about), mark ? " " : "", mark));
}

function block(title, ...content) {
  return [make("h4", {}, title), ...content];
}

function parameters(spec, operation) {
  const all = (operation.parameters ?? []).map((parameter) => follow(spec, parameter));
  if (!all.length) return [];
  const rows = all.map((parameter) => {
    const about = [parameter.description, bounds(parameter.schema)].filter(Boolean).join(" ");
    const where = parameter.in === "header" ? "header " : "";
    return row(parameter.name, parameter.required, [where, ...typeOf(parameter.schema)], about);
  });
  return block("Parameters", make("table", {}, rows));
}

/** The types of a body, with the media type where it is not JSON. */
function bodies(content = {}) {
  return Object.entries(content).flatMap(([media, { schema }], index) => [
    index ? ", " : "",
    ...typeOf(schema),
    media === "application/json" ? "" : ` (${media})`,
  ]);
}

function replies(spec, operation) {
  const rows = Object.entries(operation.responses).map(([status, given]) => {
    const reply = follow(spec, given);
    return row(status, false, bodies(reply.content), reply.description);
  });
  return block("Replies", make("table", {}, rows));
}

function curl(method, path, operation) {
  const lines = [`curl ${location.origin}${path}`, "-H \"X-API-Key: $CASEMATE_API_KEY\""];
  if (method !== "get") lines[0] = `curl -X ${method.toUpperCase()} ${location.origin}${path}`;
  if (operation.requestBody) lines.push("-H 'Content-Type: application/json'", "-d @request.json");
  return block("With curl", make("pre", {}, lines.join(" \\\n  ")));
}

function card(spec, { method, path, operation }) {
  const request = operation.requestBody?.content;
  return make("details", { id: operation.operationId, "data-words": searchable(method, path, operation) },
    make("summary", {},
      make("span", { class: `method ${method}` }, method),
      make("span", { class: "path" }, path, " ", ours(operation)),
      make("span", { class: "says" }, words(operation.summary))),
    make("div", { class: "inside" },
      paragraphs(operation.description),
      parameters(spec, operation),
      request ? block("Body", make("p", { class: "soft" }, bodies(request))) : undefined,
      replies(spec, operation),
      curl(method, path, operation)));
}

const searchable = (method, path, operation) =>
  `${method} ${path} ${operation.operationId} ${operation.summary}`.toLowerCase();

function typeSection(name, schema) {
  const choices = schema.oneOf ?? schema.anyOf;
  let table;
  if (schema.properties) {
    const must = new Set(schema.required);
    table = Object.entries(schema.properties).map(([field, value]) =>
      row(field, must.has(field), typeOf(value), value.description, ours(value)));
  } else if (choices) {
    table = choices.map((choice) => row("", false, typeOf(choice), choice.description));
  }
  return [
    make("h3", { id: `type-${name}` }, name),
    ...paragraphs(schema.description, { class: "soft" }),
    table ? make("table", {}, table) : make("p", {}, make("code", {}, typeOf(schema))),
  ];
}

/** Operations by tag, tags in the document's order, our additions last. */
function grouped(spec) {
  const groups = new Map(spec.tags.map((tag) => [tag.name, { ...tag, operations: [] }]));
  for (const [path, item] of Object.entries(spec.paths)) {
    for (const method of METHODS.filter((method) => item[method])) {
      const operation = item[method];
      const tag = operation.tags[0];
      if (!groups.has(tag)) groups.set(tag, { name: tag, operations: [] });
      groups.get(tag).operations.push({ method, path, operation });
    }
  }
  const last = ({ operation }) => Number(Boolean(operation["x-casemate"]));
  for (const group of groups.values()) group.operations.sort((a, b) => last(a) - last(b));
  return [...groups.values()].filter((group) => group.operations.length);
}

function entry({ method, path, operation }) {
  const short = path.replace(/^\/api\/v1/, "");
  return make("a",
    { class: "entry", href: `#${operation.operationId}`, title: operation.summary, "data-words": searchable(method, path, operation) },
    make("span", { class: `method ${method}` }, method), short);
}

function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target?.tagName === "DETAILS") target.open = true;
  target?.scrollIntoView();
}

function filter(text) {
  const wanted = text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const element of document.querySelectorAll("[data-words]")) {
    element.hidden = !wanted.every((word) => element.dataset.words.includes(word));
  }
  for (const group of document.querySelectorAll(".group")) {
    group.hidden = !group.querySelector("[data-words]:not([hidden])");
  }
}

async function show() {
  const spec = await (await fetch("openapi.json")).json();
  const groups = grouped(spec);
  document.getElementById("about").append(
    make("h1", {}, spec.info.title),
    make("p", { class: "soft" }, `Version ${spec.info.version}. `, make("a", { href: "openapi.json" }, "openapi.json")),
    ...paragraphs(spec.info.description));
  document.getElementById("contents").append(...groups.map((group) =>
    make("div", { class: "group" }, make("h2", {}, group.name), group.operations.map(entry))),
    make("div", {}, make("h2", {}, make("a", { href: "#types" }, "Types"))));
  document.getElementById("operations").append(...groups.map((group) =>
    make("section", { class: "group" },
      make("h2", {}, group.name),
      make("p", {}, words(group.description)),
      group.operations.map((operation) => card(spec, operation)))));
  document.getElementById("types").append(make("h2", {}, "Types"),
    ...Object.entries(spec.components.schemas).flatMap(([name, schema]) => typeSection(name, schema)));
  document.getElementById("filter").addEventListener("input", (event) => filter(event.target.value));
  addEventListener("hashchange", openTarget);
  openTarget();
}

show().catch((error) => {
  document.getElementById("operations").append(make("p", {}, `openapi.json could not be read: ${error.message}`));
});
