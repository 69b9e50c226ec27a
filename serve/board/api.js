// Asking the server: /v1 of where this page came from, with a key if it wants one.

const ROOT = new URL("v1/", document.baseURI);
const KEPT = "fleetcast-key";

/** The server said no, in one line. */
export class Refusal extends Error {
  constructor(status, told) {
    super(told);
    this.status = status;
  }
}

/** Nobody answered. */
export class Gone extends Error {}

export const keepKey = (key) => sessionStorage.setItem(KEPT, key);
export const hasKey = () => sessionStorage.getItem(KEPT) !== null;

/** The answer in JSON. `query` may have lists; undefined is left out. */
export async function ask(path, query = {}, { signal, body } = {}) {
  const address = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) if (one !== undefined) address.searchParams.append(name, one);
  }
  const headers = {};
  if (hasKey()) headers.authorization = `Bearer ${sessionStorage.getItem(KEPT)}`;
  if (body) headers["content-type"] = "application/json";
  let reply;
  try {
    reply = await fetch(address, {
      method: body ? "POST" : "GET",
      body: body && JSON.stringify(body),
      headers,
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Gone("the server does not answer.");
  }
  const told = await reply.json().catch(() => ({ error: `status ${reply.status}, and no JSON.` }));
  if (!reply.ok) throw new Refusal(reply.status, told.error);
  return told;
}

/** Gives each caller its own turn: asking again ends what was asked before. */
export class Turn {
  #under = null;

  /** Run `work(signal)`; undefined where another turn took over. */
  async take(work) {
    this.#under?.abort();
    const mine = (this.#under = new AbortController());
    try {
      const made = await work(mine.signal);
      return mine.signal.aborted ? undefined : made;
    } catch (error) {
      if (mine.signal.aborted) return undefined;
      throw error;
    }
  }
}
