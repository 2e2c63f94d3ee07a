// The dashboard: one page without anything from elsewhere. Everything that vehicles send is put in as text, never as markup.

const style = `
:root{color-scheme:light dark;font:14px/1.4 system-ui,sans-serif}
body{margin:0 auto;max-width:1200px;padding:16px}
h1{font-size:18px}h2{font-size:15px;margin:24px 0 8px}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:4px 8px;border-bottom:1px solid #8884;vertical-align:top}
td.wide{word-break:break-all}
progress{width:160px}
.online,.completed{color:#18864b}.offline,.failed,.timeout,.cancelled{color:#c0392b}
#link{float:right;font-size:12px}
`;

const script = `
"use strict";
const waits = { approval: "approval: ", parked: "until parked: ", conditions: "", vehicle: "", retry: "next: " };
const tables = {
  vehicles: { key: v => v.vin, cells: v => [v.vin, v.vmg_id || "", v.status || "", v.verified ? "signed by its ECUs" : "", v.current_ip || "", v.last_heartbeat || "",
    v.metrics ? Object.entries(v.metrics).map(([k, n]) => k + "=" + n).join("  ") : ""], limit: 200 },
  updates: { key: u => u.update_id, cells: u => [u.update_id, u.vin, u.mode, u.status, u.progress,
    u.attempts > 1 ? u.attempt + " of " + u.attempts : "", u.waiting ? waits[u.waiting.for] + u.waiting.detail : ""], limit: 50 },
  diagnostics: { key: d => d.request_id, cells: d => [d.ecu_id, d.vin, d.service_id, d.status, d.response_data || ""], limit: 50 },
  anomalies: { key: a => a.vin + a.metric + a.rule + a.timestamp + a.value + a.message, cells: a => [a.timestamp, a.vin, a.metric, a.rule, a.message], limit: 50 },
};
const rows = { vehicles: new Map(), updates: new Map(), diagnostics: new Map(), anomalies: new Map() };
function put(name, item, atEnd) {
  const { key, cells, limit } = tables[name];
  const id = key(item);
  const known = rows[name].get(id);
  const value = known ? Object.assign(known.value, item) : { ...item };
  const row = document.createElement("tr");
  cells(value).forEach(text => {
    const cell = row.insertCell();
    if (typeof text === "number") {
      const bar = document.createElement("progress");
      bar.max = 100; bar.value = text;
      cell.append(bar, " " + Math.round(text) + "%");
    } else {
      cell.textContent = text;
      if (/^(online|offline|completed|failed|cancelled|timeout)$/.test(text)) cell.className = text;
      if (text.length > 40) cell.className = "wide";
    }
  });
  const body = document.getElementById(name);
  if (known) known.row.replaceWith(row); else if (atEnd) body.append(row); else body.prepend(row);
  rows[name].set(id, { value, row });
  while (body.rows.length > limit) {
    const last = body.rows[body.rows.length - 1];
    for (const [k, r] of rows[name]) if (r.row === last) rows[name].delete(k);
    last.remove();
  }
}
const source = new EventSource("/events");
const link = document.getElementById("link");
source.onopen = () => { link.textContent = "live"; };
source.onerror = () => { link.textContent = "no connection, trying again"; };
source.addEventListener("snapshot", e => {
  const data = JSON.parse(e.data);
  for (const name of Object.keys(tables)) {
    document.getElementById(name).replaceChildren();
    rows[name].clear();
    data[name].forEach(item => put(name, item, true));
  }
});
source.addEventListener("vehicle", e => put("vehicles", JSON.parse(e.data)));
source.addEventListener("telemetry", e => { const { vin, metrics } = JSON.parse(e.data); put("vehicles", { vin, metrics }); });
source.addEventListener("update", e => put("updates", JSON.parse(e.data)));
source.addEventListener("diagnostic", e => put("diagnostics", JSON.parse(e.data)));
source.addEventListener("anomaly", e => put("anomalies", JSON.parse(e.data)));
`;

const table = (id: string, title: string, columns: readonly string[]) =>
  `<h2>${title}</h2><table><thead><tr>${columns.map((name) => `<th>${name}</th>`).join("")}</tr></thead>` +
  `<tbody id="${id}"></tbody></table>`;

export const dashboardPage = `<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><title>Zonebench</title>
<style>${style}</style></head><body><h1>Zonebench <span id="link">connecting</span></h1>
${
  table("vehicles", "Vehicles", [
    "VIN",
    "Gateway",
    "Status",
    "Versions",
    "Address",
    "Last heartbeat",
    "Telemetry",
  ])
}
${table("updates", "Updates", ["Update", "VIN", "Mode", "Status", "Progress", "Attempt", "Waits for"])}
${table("diagnostics", "Diagnostics", ["ECU", "VIN", "Service", "Status", "Answer"])}
${table("anomalies", "Anomalies", ["Time", "VIN", "Metric", "Rule", "What"])}
<script>${script}</script></body></html>`;

async function hashSource(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return `'sha256-${new Uint8Array(digest).toBase64()}'`;
}

/** The policy that lets this page's own style and script run and nothing else (Content Security Policy Level 3). */
export async function dashboardPolicy(): Promise<string> {
  return [
    "default-src 'none'",
    `script-src ${await hashSource(script)}`,
    `style-src ${await hashSource(style)}`,
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
}
