// Compose files with what becomes of them. A row: name, what it shows, the files of its directory, and
//   refused  patterns that the refusal has, on every kind of node; nothing is made
//   docker   on a docker node: `page` {port: pattern} or `state` and `cause`; where it is left out it runs
//   ports    the ports of its URLs (docker)
//   note     a pattern that the command prints
// On a simulated node everything that is not refused runs.

const page = `["sh", "-c", "mkdir -p /w && env | sort > /w/index.html && exec httpd -f -p 80 -h /w"]`;
const web = (more = "", top = "") =>
  `services:\n  web:\n    image: busybox:1.36\n    command: ${page}\n    ports: ["8080:80"]\n${more}${top}`;
const refusedWeb = (line, ...patterns) => ({
  files: { "docker-compose.yml": `services:\n  web:\n    image: busybox:1.36\n    ${line}\n` },
  refused: ["service web", "line 4", ...patterns],
});

export const cases = [
  // ---- refused before anything is made
  { name: "include", what: "a file that stays behind", files: { "docker-compose.yml": `include: [other.yml]\n${web()}` }, refused: ["include", "line 1", "one compose file"] },
  { name: "extends-file", ...refusedWeb("extends: {file: base.yml, service: x}", "extends", "same compose file") },
  { name: "env-file", ...refusedWeb("env_file: [app.env]", "env_file", "--env-file") },
  { name: "label-file", ...refusedWeb("label_file: x", "label_file") },
  { name: "config-file", files: { "docker-compose.yml": web("    configs: [c]\n", "configs:\n  c: {file: ./c}\n") }, refused: ["configs.c.file", "content:"] },
  { name: "secret-file", files: { "docker-compose.yml": web("    secrets: [s]\n", "secrets:\n  s: {file: ./s}\n") }, refused: ["secrets.s.file", "environment:"] },
  { name: "no-volume", ...refusedWeb("volumes: ['data:/d']", "volumes\\[0\\]", "\"data\"") },
  { name: "no-network", ...refusedWeb("networks: [front]", "\"front\"") },
  { name: "no-service", ...refusedWeb("depends_on: [db]", "\"db\"") },
  { name: "circle", files: { "docker-compose.yml": "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [a]}\n" }, refused: ["a → b → a"] },
  { name: "unknown-key", ...refusedWeb("enviroment: {A: b}", "did you mean environment") },
  { name: "wrong-type", ...refusedWeb("ports: 8080", "must be a list") },
  { name: "no-duration", ...refusedWeb("healthcheck: {test: x, interval: 5}", "30s") },
  { name: "no-size", ...refusedWeb("mem_limit: lots", "64m") },
  { name: "no-policy", ...refusedWeb("restart: sometimes", "unless-stopped") },
  { name: "no-port", ...refusedWeb("ports: ['70000:80']", "65535") },
  { name: "unequal-ranges", ...refusedWeb("ports: ['8000-8002:80-81']", "8000-8002:80-81") },
  { name: "broken-variable", ...refusedWeb("environment: {A: '${A'}", "\\$\\{NAME\\}") },
  { name: "windows-path", ...refusedWeb("volumes: ['C:\\\\x:/d']", "Windows"), never: ["/var/lib", "data-dir"] },
  { name: "twice", ...refusedWeb("image: busybox", "stands twice") },
  { name: "two-merges", files: { "docker-compose.yml": "x-a: &a {init: true}\nservices:\n  web:\n    image: x\n    <<: *a\n    <<: *a\n" }, refused: ["line 6", "<<: \\[\\*a, \\*b\\]"] },
  { name: "tab", files: { "docker-compose.yml": "services:\n\tweb: {image: x}\n" }, refused: ["line 2", "tab"] },
  { name: "v1-format", files: { "docker-compose.yml": "web:\n  image: x\n" }, refused: ["web \\(line 1\\)", "not a key"] },
  { name: "no-services", files: { "docker-compose.yml": "services: {}\n" }, refused: ["no services"] },
  { name: "build-context", files: { "docker-compose.yml": "services:\n  web:\n    build: .\n" }, refused: ["build", "dockerfile_inline"] },
  { name: "build-and-image", ...refusedWeb("build: .", "remove build:") },
  { name: "several-at-once", files: { "docker-compose.yml": "services:\n  a:\n    image: x\n    env_file: e\n    typo: 1\n  b: {image: y, networks: [n]}\n" }, refused: ["service a, env_file \\(line 4\\)", "service a, typo \\(line 5\\)", "service b, networks \\(line 6\\)"] },

  // ---- .env files
  { name: "env-json", files: { "docker-compose.yml": web(), ".env": '[{"A": 1}]' }, refused: ["JSON"] },
  { name: "env-bad-line", files: { "docker-compose.yml": web(), ".env": "A=1\nwhat is this\n" }, refused: ["line 2"] },
  { name: "env-utf16", files: { "docker-compose.yml": web(), ".env": Buffer.from("\ufeffA=1\n", "utf16le") }, refused: ["UTF-16"] },
  { name: "env-bom-crlf", files: { "docker-compose.yml": web("    environment: [FIRST, SECOND]\n"), ".env": "\ufeffFIRST=one\r\nSECOND=\"two\"\r\n" }, docker: { page: { 8080: "FIRST=one\n[\\s\\S]*SECOND=two\n" } } },
  { name: "env-hash", files: { "docker-compose.yml": web("    environment: [A]\n"), ".env": "A=x#y\n" }, note: "goes on after its #", docker: { page: { 8080: "A=x#y" } } },
  { name: "env-unset", files: { "docker-compose.yml": web("    environment: {A: '${A}', B: '${B:-b}'}\n") }, note: "not given and have no default: A", docker: { page: { 8080: "A=\nB=b" } } },

  // ---- what runs
  { name: "optional-env-file", files: { "docker-compose.yml": web("    env_file: [{path: gone.env, required: false}]\n") }, docker: { page: { 8080: "HOME" } } },
  { name: "two-documents", files: { "docker-compose.yml": `${web()}---\nservices:\n  web: {environment: {FROM: second}}\n` }, docker: { page: { 8080: "FROM=second" } } },
  { name: "many-aliases", files: { "docker-compose.yml": `x-e: &e {A: '1'}\n${web("    environment: *e\n")}${Array.from({ length: 120 }, (_, at) => `  s${at}: {image: busybox:1.36, environment: *e, deploy: {replicas: 0}}\n`).join("")}` }, docker: { page: { 8080: "A=1" } } },
  { name: "override-file", files: { "docker-compose.yml": web("    environment: {FROM: base}\n"), "docker-compose.override.yml": "services: {web: {environment: {FROM: override}}}\n" }, note: "override.yml is left out", docker: { page: { 8080: "FROM=base" } } },
  { name: "port-variable", files: { "docker-compose.yml": web().replace("8080:80", "${PORT}:80"), ".env": "PORT=8099\n" }, docker: { page: { 8099: "HOME" } }, ports: [8099] },
  { name: "port-default", files: { "docker-compose.yml": web().replace('["8080:80"]', "[{target: 80, published: '${PORT:-8085}'}]") }, docker: { page: { 8085: "HOME" } }, ports: [8085] },
  { name: "port-range-replicas", files: { "docker-compose.yml": web("    deploy: {replicas: 2}\n").replace("8080:80", "8081-8083:80") }, docker: { page: { 8081: "HOME", 8082: "HOME" } }, ports: [8081, 8082] },
  { name: "udp-beside-tcp", files: { "docker-compose.yml": web().replace('["8080:80"]', '["5353:53/udp", "5353:80/tcp"]') }, docker: { page: { 5353: "HOME" } }, ports: [5353] },
  { name: "inline-build", files: { "docker-compose.yml": 'services:\n  web:\n    build:\n      dockerfile_inline: |\n        FROM busybox:1.36\n        RUN mkdir /w && echo built > /w/index.html\n        CMD ["httpd", "-f", "-p", "80", "-h", "/w"]\n    ports: ["8080:80"]\n' }, docker: { page: { 8080: "built" } } },
  { name: "inline-build-named", files: { "docker-compose.yml": "services:\n  web:\n    build:\n      context: .\n      dockerfile_inline: |\n        FROM busybox:1.36\n        RUN mkdir /w && echo named > /w/index.html\n    image: own-name:1\n    pull_policy: build\n    command: httpd -f -p 80 -h /w\n    ports: ['8080:80']\n" }, docker: { page: { 8080: "named" } } },
  { name: "guest-variables", files: { "docker-compose.yml": web("    environment: {ID: '${DSTACK_APP_ID}', NAME: '${DSTACK_APP_NAME}', AT: '${DSTACK_GATEWAY_DOMAIN}'}\n") }, docker: { page: { 8080: "AT=[^\n]+[\\s\\S]*ID=[0-9a-f]{40}[\\s\\S]*NAME=c-guest-variables" } } },
  { name: "container-network", files: { "docker-compose.yml": web("    container_name: main\n").concat("  side: {image: busybox:1.36, command: sleep 1000, network_mode: 'container:main', depends_on: [web]}\n") }, docker: { page: { 8080: "HOME" } } },
  { name: "secret-variable", files: { "docker-compose.yml": web("    secrets: [s]\n", "secrets:\n  s: {environment: TOKEN}\n"), ".env": "TOKEN=t-1\n" }, docker: { page: { 8080: "HOME" } } },
  { name: "profile", files: { "docker-compose.yml": `${web()}  extra: {image: not-there.invalid/x:1, profiles: [extra]}\n` }, docker: { page: { 8080: "HOME" } } },
  { name: "job-done", files: { "docker-compose.yml": `${web()}  job: {image: busybox:1.36, command: 'true'}\n` }, docker: { page: { 8080: "HOME" } } },

  // ---- what does not come up, and says so
  { name: "exits", files: { "docker-compose.yml": web().replace(page, `["sh", "-c", "echo no config; exit 7"]`) }, docker: { state: "error", cause: "service web exited with 7.*no config" } },
  { name: "crash-loop", files: { "docker-compose.yml": web("    restart: always\n").replace(page, `["sh", "-c", "echo no database; exit 1"]`) }, docker: { state: "error", cause: "service web restarts in a loop.*exited with 1.*no database" } },
  { name: "gives-up", files: { "docker-compose.yml": web("    restart: on-failure:1\n").replace(page, `["sh", "-c", "echo tried; exit 2"]`) }, docker: { state: "error", cause: "service web (exited|restarts in a loop, the last time it exited) with 2.*tried" } },
  { name: "image-gone", files: { "docker-compose.yml": "services: {web: {image: 'nobody.invalid/x:1'}}\n" }, docker: { state: "error", cause: "service web: image nobody.invalid/x:1" } },
  { name: "dependency-fails", files: { "docker-compose.yml": `${web("    depends_on: {init: {condition: service_completed_successfully}}\n")}  init: {image: busybox:1.36, command: sh -c 'echo broke; exit 3'}\n` }, docker: { state: "error", cause: "service init exited with 3.*broke" } },
  { name: "ends-later", files: { "docker-compose.yml": `${web()}  worker: {image: busybox:1.36, command: sh -c 'sleep 6; echo fatal; exit 9'}\n` }, docker: { page: { 8080: "HOME" }, later: { state: "error", cause: "service worker exited with 9.*fatal" } } },
  { name: "unhealthy", files: { "docker-compose.yml": web("    healthcheck: {test: [CMD, 'false'], interval: 3s, retries: 1}\n") }, docker: { page: { 8080: "HOME" }, later: { state: "error", cause: "service web is unhealthy" } } },
];
