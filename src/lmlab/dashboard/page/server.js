// Requests to the server: queries and actions.

export async function ask(address) {
  return answer(await fetch(address, { credentials: "same-origin" }));
}

export async function send(action, content) {
  const request = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(content) };
  return answer(await fetch(`api/${action}`, { credentials: "same-origin", ...request }));
}

async function answer(response) {
  const json = response.headers.get("content-type")?.startsWith("application/json");
  const content = json ? await response.json() : { error: (await response.text()) || response.statusText };
  if (!response.ok) throw new Error(content.error ?? response.statusText);
  return content;
}
