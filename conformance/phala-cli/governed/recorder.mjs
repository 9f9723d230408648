// Between clients and a server: passes every request on and keeps it with its reply.

import http from "node:http";

const whole = (stream) =>
  new Promise((resolve, reject) => {
    const parts = [];
    stream.on("data", (part) => parts.push(part));
    stream.on("end", () => resolve(Buffer.concat(parts)));
    stream.on("error", reject);
  });

// Listens on a free port; `url` stands for `target` then, a base URL with a path.
export async function record(target) {
  const { hostname, port, pathname } = new URL(target);
  const kept = [];
  const server = http.createServer(async (request, response) => {
    const { method, url } = request;
    const body = await whole(request);
    const headers = { ...request.headers, host: `${hostname}:${port}` };
    const entry = { line: `${method} ${url}`, headers: JSON.stringify(headers), body: body.toString("utf8"), reply: "" };
    kept.push(entry);
    const passed = http.request({ hostname, port, method, path: url, headers, agent: false }, async (reply) => {
      const bytes = await whole(reply);
      entry.status = reply.statusCode;
      entry.reply = bytes.toString("utf8");
      const { connection, "transfer-encoding": _, ...rest } = reply.headers;
      response.writeHead(reply.statusCode, { ...rest, "content-length": bytes.length });
      response.end(bytes);
    });
    passed.on("error", (error) => response.destroy(error));
    passed.end(body);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}${pathname.replace(/\/$/, "")}`,
    requests: () => [...kept],
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
