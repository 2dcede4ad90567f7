"use strict";
// The page for people. Everything that it shows is set as text, never as markup.

const POLL = 1000;
const SHOWN_CALLS = 300;
const $ = id => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter(child => child !== null && child !== undefined));
  return node;
}

async function ask(method, path, body) {
  const request = {method, cache: "no-store"};
  if (body !== undefined) {
    request.body = JSON.stringify(body);
    request.headers = {"Content-Type": "application/json"};
  }
  const answer = await fetch(path, request);
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error ? content.error.message : `${answer.status}`);
  return content;
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
  clearTimeout(notice.timer);
  if (text) notice.timer = setTimeout(() => { $("notice").hidden = true; }, 8000);
}

/** Do what a button is for; what goes wrong is shown. */
const doing = work => async () => {
  try { await work(); notice(""); await refresh(); } catch (error) { notice(error.message); }
};

const button = (text, work, kind = "") => make("button", {type: "button", className: kind, onclick: doing(work)}, text);
const quietly = text => make("span", {className: "quiet"}, text);

/** Put a node in an element unless it shows the same already: a selection of text in it stays. */
function show(place, signature, build) {
  if (place.signature === signature) return;
  place.signature = signature;
  place.replaceChildren(...[build()].flat());
}

function moment(text) {
  const at = new Date(text);
  return isNaN(at) ? "" : at.toLocaleString(undefined, {dateStyle: "medium", timeStyle: "medium"});
}

function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; bytes >= 1000 && unit < units.length - 1; unit += 1) bytes /= 1000;
  return `${unit && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

const GOOD = ["RUNNING", "READY"];
const BAD = ["FAILED", "OBSOLETE", "DELETED"];
const STILL = ["TERMINATED", "SUSPENDED"];

function chip(text) {
  if (!text) return null;
  const kind = GOOD.includes(text) ? "good" : BAD.includes(text) ? "bad" : STILL.includes(text) ? "" : "warn";
  return make("span", {className: `chip ${kind}`}, text.toLowerCase());
}

function table(columns, rows) {
  const head = columns.map(([title, kind]) => make("th", {className: kind === "number" ? kind : ""}, title));
  const body = rows.map(row => make("tr", {}, ...row.map((cell, index) =>
    make("td", {className: columns[index][1] || ""}, ...[cell].flat().filter(each => each !== null && each !== undefined)))));
  return make("div", {className: "scroll"}, make("table", {},
    make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body)));
}

function card(title, about, ...content) {
  return make("div", {className: "card"}, make("h2", {}, title, make("small", {}, about)), ...content);
}

// Resources

const KINDS = [
  ["instances", "VM instances", [["Name", "name"], ["Status"], ["Zone"], ["Machine type"], ["Project"], ["Created"], [""]],
    each => [each.name, chip(each.status), each.place, each.machineType || "", each.project, moment(each.created),
      make("a", {href: `#consoles/${each.path}`}, "console")]],
  ["images", "Images", [["Name", "name"], ["Status"], ["Family"], ["Disk", "number"], ["Project"], ["Created"]],
    each => [each.name, [chip(each.status), " ", chip(each.deprecated)], each.family || "", `${each.diskSizeGb || "?"} GB`,
      each.project, moment(each.created)]],
  ["snapshots", "Snapshots", [["Name", "name"], ["Status"], ["Of disk"], ["Size", "number"], ["Project"], ["Created"]],
    each => [each.name, chip(each.status), each.sourceDisk || "", `${each.diskSizeGb || "?"} GB`, each.project, moment(each.created)]],
  ["disks", "Disks", [["Name", "name"], ["Status"], ["Zone"], ["Size", "number"], ["Of image"], ["Project"], ["Created"]],
    each => [each.name, chip(each.status), each.place, `${each.sizeGb || "?"} GB`, each.sourceImage || "", each.project,
      moment(each.created)]],
  ["buckets", "Buckets", [["Name", "name"], ["Objects", "number"], ["Size", "number"], ["Created"]],
    each => [each.name, `${each.objects}`, size(each.bytes), moment(each.created)]],
  ["secrets", "Secrets", [["Name", "name"], ["Path", "path"], ["Created"]],
    each => [each.name, each.path, moment(each.created)]],
  ["keys", "Keys", [["Name", "name"], ["Path", "path"], ["Algorithm"], ["Created"]],
    each => [each.name, each.path, each.algorithm, moment(each.created)]],
  ["containers", "Container images", [["Repository", "name"], ["Tags"]],
    each => [each.name, each.tags.join(", ")]],
];

function showResources(overview) {
  const cards = [];
  const empty = [];
  for (const [kind, title, columns, cells] of KINDS) {
    const rows = overview.resources[kind];
    const count = overview.counts[kind];
    if (!rows.length) empty.push(title.toLowerCase());
    else cards.push(card(title, rows.length < count ? `the newest ${rows.length} of ${count}` : `${count}`, table(columns, rows.map(cells))));
  }
  if (empty.length) cards.push(make("p", {className: "quiet"}, `There are no ${empty.join(", ")}.`));
  const reset = button("Reset…", async () => {
    if (confirm("Remove everything that this emulator has?")) await ask("POST", "/emulator/reset");
  }, "danger");
  return [...cards, make("div", {className: "bar"}, reset, quietly("removes everything; the seed is put in again"))];
}

// Consoles

const consoles = {path: "", port: 1, next: 0, text: "", known: new Set()};
const MOST_TEXT = 1 << 20;

function buildConsoles() {
  const machine = make("select", {id: "machine", onchange: () => choose(machine.value, consoles.port)});
  const port = make("select", {id: "port", onchange: () => choose(consoles.path, Number(port.value))},
    ...[1, 2, 3, 4].map(number => make("option", {value: `${number}`}, `port ${number}`)));
  const follow = make("input", {type: "checkbox", id: "follow", checked: true});
  $("consoles").append(
    make("div", {className: "bar"}, machine, port, make("label", {}, follow, " follow"), make("span", {id: "state", className: "push"})),
    make("div", {className: "card"}, make("pre", {id: "output", className: "console", tabIndex: 0, "aria-label": "serial output"})));
}

function choose(path, port) {
  Object.assign(consoles, {path, port, next: 0, text: ""});
  $("port").value = `${port}`;
  $("output").textContent = "";
  if (path) history.replaceState(null, "", `#consoles/${path}`);
  refresh();
}

async function showConsole(overview) {
  const machines = overview.resources.instances;
  const paths = machines.map(each => each.path);
  if (!consoles.path && paths.length) consoles.path = paths[0];
  const gone = consoles.path && !paths.includes(consoles.path);
  const options = gone ? [consoles.path, ...paths] : paths;
  show($("machine"), options.join(), () => options.length
    ? options.map(path => make("option", {value: path}, `${path.split("/").pop()} (${path.split("/")[1]})`))
    : make("option", {value: ""}, "there is no VM"));
  $("machine").value = consoles.path;
  const machine = machines.find(each => each.path === consoles.path);
  show($("state"), machine ? machine.status : `${gone}`, () => machine ? chip(machine.status) : quietly(gone ? "it is deleted" : ""));
  if (!machine) return;
  const {path, port} = consoles;
  const query = new URLSearchParams({instance: path, port, start: consoles.next});
  const answer = await ask("GET", `/emulator/console?${query}`);
  if (path !== consoles.path || port !== consoles.port || !answer.contents) return;
  consoles.next = Number(answer.next);
  consoles.text = (consoles.text + answer.contents).slice(-MOST_TEXT);
  $("output").textContent = consoles.text.replace(/\u001b\[[0-9;?]*[A-Za-z]/g, "").replace(/\r+\n/g, "\n");
  if ($("follow").checked) $("output").scrollTop = $("output").scrollHeight;
}

// Calls

function buildCalls() {
  const field = (id, text, width) => make("input", {id, type: "search", placeholder: text, size: width, "aria-label": text, oninput: () => refresh()});
  const service = make("select", {id: "service", "aria-label": "service", onchange: () => refresh()},
    ...["", "compute", "storage", "logging", "secretmanager", "kms", "registry"].map(name => make("option", {value: name}, name || "all services")));
  $("calls").append(
    make("div", {className: "bar"}, service, field("method", "method", 8), field("path", "path (regular expression)", 32),
      make("label", {}, make("input", {type: "checkbox", id: "paused"}), " stand still"),
      make("span", {id: "number", className: "quiet"}), make("span", {className: "push"}),
      button("Clear", () => ask("DELETE", "/emulator/calls"))),
    make("div", {className: "card", id: "log"}));
}

function answered(status) {
  const kind = status >= 500 || !status ? "bad" : status >= 400 ? "warn" : status >= 300 ? "info" : "good";
  return make("span", {className: `chip ${kind}`}, status ? `${status}` : "cut");
}

async function showCalls() {
  if ($("paused").checked) return;
  const query = new URLSearchParams({last: SHOWN_CALLS, service: $("service").value, method: $("method").value.trim().toUpperCase(), path: $("path").value});
  const {count, calls} = await ask("GET", `/emulator/calls?${query}`);
  $("number").textContent = count > calls.length ? `the last ${calls.length} of ${count}` : `${count}`;
  const last = calls[calls.length - 1];
  show($("log"), `${query} ${count} ${last && last.time}`, () => calls.length ? table(
    [["Time"], ["Service"], ["Method"], ["Path", "path"], ["Answer"], ["Took", "number"]],
    calls.reverse().map(call => [new Date(call.time * 1000).toLocaleTimeString(), call.service, call.method, decoded(call.path),
      answered(call.status), `${Math.round(call.seconds * 1000)} ms`]),
  ) : make("p", {className: "empty"}, "No requests yet, or none that match."));
}

function decoded(path) {
  try { return decodeURI(path); } catch (error) { return path; }
}

// Faults

const FAULTS = {
  http: ["a request is answered with a status, and not carried out", ["method", "path", "status", "reason", "message", "count", "skip"]],
  drop: ["the connection is cut without an answer", ["method", "path", "when", "count", "skip"]],
  delay: ["the answer comes late", ["method", "path", "seconds", "count", "skip"]],
  hold: ["a request waits until this is removed", ["method", "path", "when", "count", "skip"]],
  operation: ["an operation ends in an error, or only takes longer", ["method", "path", "code", "message", "seconds", "leave", "count", "skip"]],
  silent: ["a VM prints nothing", ["name", "path", "count", "skip"]],
  "serial-loss": ["bytes of a VM's output are lost", ["name", "port", "bytes", "count", "skip"]],
  crash: ["a VM stops dead after its start", ["name", "path", "seconds", "count", "skip"]],
  "disk-stays": ["disks that should be deleted with a VM stay", ["name", "path", "count", "skip"]],
};
const FIELDS = {
  method: ["Method or operation", "POST|DELETE"], path: ["Path (regular expression)", "/global/images"],
  name: ["VM's name (regular expression)", "builder-.*"], status: ["Status", "503"], reason: ["Reason", "backendError"],
  message: ["Message", ""], count: ["Times (0: without end)", "1"], skip: ["Times to pass before", "0"], seconds: ["Seconds", "0"],
  code: ["Error code", "ZONE_RESOURCE_POOL_EXHAUSTED"], port: ["Serial port", "3"], bytes: ["Bytes (0: all)", "0"],
};
const NUMBERS = ["status", "count", "skip", "seconds", "port", "bytes"];

function buildFaults() {
  const kind = make("select", {id: "kind", onchange: () => showFields()},
    ...Object.keys(FAULTS).map(name => make("option", {value: name}, name)));
  $("faults").append(
    card("Order a fault", "", make("div", {className: "fields", id: "fields"}), make("div", {className: "end"},
      button("Order", orderFault, "main"), make("span", {id: "meaning", className: "quiet"}))),
    make("div", {id: "ordered"}),
    card("Zones without machines", "", make("div", {className: "end"},
      make("input", {id: "zone", placeholder: "us-west1-b", "aria-label": "zone"}),
      button("Let it run out", () => ask("POST", "/emulator/stock-outs", {zone: $("zone").value.trim(), on: true})),
      make("span", {id: "zones", className: "group"}))));
  $("fields").append(make("label", {}, "Kind", kind));
  showFields();
}

function showFields() {
  const [meaning, names] = FAULTS[$("kind").value];
  $("meaning").textContent = meaning;
  const fields = names.map(name => {
    if (name === "when") return make("label", {}, "When", make("select", {id: "field-when"},
      make("option", {value: "before"}, "before it is carried out"), make("option", {value: "after"}, "after it was carried out")));
    if (name === "leave") return make("label", {className: "check"}, make("input", {id: "field-leave", type: "checkbox"}), "what it was making stays, as failed");
    const [title, example] = FIELDS[name];
    return make("label", {}, title, make("input", {id: `field-${name}`, placeholder: example, inputMode: NUMBERS.includes(name) ? "decimal" : "text"}));
  });
  $("fields").replaceChildren($("kind").parentNode, ...fields);
}

async function orderFault() {
  const fault = {kind: $("kind").value};
  for (const name of FAULTS[fault.kind][1]) {
    const field = $(`field-${name}`);
    if (name === "leave") fault[name] = field.checked;
    else if (field.value.trim() !== "") {
      fault[name] = NUMBERS.includes(name) ? Number(field.value) : field.value.trim();
      if (NUMBERS.includes(name) && Number.isNaN(fault[name])) throw new Error(`${FIELDS[name][0]}: ${field.value} is no number`);
    }
  }
  await ask("POST", "/emulator/faults", fault);
}

function showFaults({faults}, status) {
  show($("ordered"), JSON.stringify(faults), () => {
    const rows = faults.map(fault => {
      const about = (FAULTS[fault.kind] || ["", []])[1].filter(name => fault[name] !== "" && fault[name] !== false && name !== "count");
      const times = fault.held ? `${fault.held} wait` : fault.count > 0 ? `${fault.count} to come` : "without end";
      return [fault.kind, about.map(name => `${name}=${fault[name]}`).join("  "), times,
        button("remove", () => ask("DELETE", `/emulator/faults/${fault.id}`), "link danger")];
    });
    return card("Faults to come", `${faults.length}`, rows.length
      ? table([["Kind", "name"], ["Of what", "path"], ["Times"], [""]], rows) : make("p", {}, "There are none."));
  });
  show($("zones"), status.stockedOut.join(), () => status.stockedOut.map(zone =>
    button(`${zone} ✕`, () => ask("POST", "/emulator/stock-outs", {zone, on: false}))));
}

// The whole

const VIEWS = {resources: "Resources", consoles: "Serial consoles", calls: "Calls", faults: "Faults"};
let view = "resources";

function route() {
  const [name, ...rest] = decodeURIComponent(location.hash.slice(1)).split("/");
  view = name in VIEWS ? name : "resources";
  for (const each of Object.keys(VIEWS)) {
    $(each).hidden = each !== view;
    const tab = $(`tab-${each}`);
    if (each === view) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  if (view === "consoles" && rest.length) choose(rest.join("/"), consoles.port);
  else refresh();
}

function count(name, number) {
  $(`count-${name}`).textContent = number;
}

let refreshing = false;
async function refresh() {
  if (refreshing) return;
  refreshing = true;
  try {
    const [overview, faults] = await Promise.all([ask("GET", "/emulator/overview"), ask("GET", "/emulator/faults")]);
    const {status} = overview;
    $("machines").textContent = `${status.machines} machines`;
    $("time").textContent = moment(status.clock);
    $("health").textContent = "running";
    $("health").className = "chip good";
    count("resources", Object.values(overview.counts).reduce((sum, each) => sum + each, 0));
    count("consoles", overview.counts.instances);
    count("calls", overview.calls);
    count("faults", faults.faults.length);
    if (view === "resources") show($("resources"), JSON.stringify([overview.counts, overview.resources]), () => showResources(overview));
    if (view === "consoles") await showConsole(overview);
    if (view === "calls") await showCalls();
    if (view === "faults") showFaults(faults, status);
  } catch (error) {
    const away = error instanceof TypeError;
    $("health").textContent = away ? "does not answer" : "running";
    $("health").className = away ? "chip bad" : "chip good";
    if (!away) notice(error.message);
  } finally {
    refreshing = false;
  }
}

for (const [name, title] of Object.entries(VIEWS)) {
  $("tabs").append(make("a", {href: `#${name}`, id: `tab-${name}`}, title, make("span", {className: "count", id: `count-${name}`})));
}
for (const [text, seconds] of [["+1 min", 60], ["+1 h", 3600], ["+1 day", 86400]]) {
  $("advance").append(button(text, () => ask("POST", "/emulator/clock", {advance: seconds})));
}
buildConsoles();
buildCalls();
buildFaults();
addEventListener("hashchange", route);
addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
setInterval(() => { if (!document.hidden) refresh(); }, POLL);
route();
