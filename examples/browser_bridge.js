// For a page that is a ComfyUI client: its socket and its questions go through here, so the bridge sees what it sees.
//
//   import { connect } from "http://127.0.0.1:9000/browser_bridge.js";
//   const comfy = await connect("http://127.0.0.1:9000", location.origin, (promptId, state) => console.log(promptId, state));
//   await comfy.ask("POST", "/prompt", { prompt: workflow, client_id: comfy.window, prompt_id: crypto.randomUUID() });

const socketOf = (url) => url.replace(/^http/, "ws");

export function connect(bridge, server, settled) {
  const tab = new WebSocket(`${socketOf(bridge)}/tab`);
  const say = (kind, data) => tab.send(JSON.stringify({ kind, data }));
  let asked = 0;

  async function ask(method, path, body) {
    const id = String(asked++);
    const json = body && { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
    say("http.request", { id, method, path, body });
    try {
      const answer = await fetch(server + path, { method, ...json });
      const text = await answer.text();
      say("http.response", { id, method, path, status: answer.status, body: text });
      return text;
    } catch (error) {
      say("http.error", { id, error: error.name });
    }
  }

  function listen(window, opened) {
    const socket = new WebSocket(`${socketOf(server)}/ws?clientId=${window}`);
    socket.onopen = () => { say("ws.open", {}); opened?.({ window, ask, close: () => tab.close() }); };
    socket.onmessage = ({ data }) => typeof data === "string" && say("ws.message", data);
    socket.onclose = ({ code }) => {
      if (tab.readyState !== WebSocket.OPEN) return;
      say("ws.close", { code });
      setTimeout(listen, 1000, window);
    };
    tab.onclose = () => socket.close();
  }

  return new Promise((opened, failed) => {
    tab.onerror = () => failed(new Error(`no bridge answers at ${bridge}, so nothing was sent; start it, then load again`));
    tab.onmessage = async ({ data }) => {
      const told = JSON.parse(data);
      if (told.window) listen(told.window, opened);
      if (told.settled) settled(told.settled, told.state);
      if (told.wanted === "LookAtQueue") await ask("GET", "/queue"); // the queue, then the history (P29)
      if (["LookAtQueue", "FetchHistory"].includes(told.wanted)) await ask("GET", `/history/${told.prompt_id}`);
    };
  });
}
