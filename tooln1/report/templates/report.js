// The page's behaviour: charts in light or dark colours, switches for runs, and the rollout browser.
// A model's text reaches the page as text nodes only.
"use strict";

const byId = (id) => document.getElementById(id);
const CHARTS = JSON.parse(byId("charts").textContent);
const PLOT_OPTIONS = {
  responsive: true, displaylogo: false, displayModeBar: matchMedia("(hover: hover)").matches ? "hover" : false,
   modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
};
const PAGE_SIZE = 20;
// With at most so many points, a line has markers. With more names, hovering replaces the legend.
const FEW_POINTS = 12, MOST_NAMES = 12;
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];

// ---- pieces: compressed JSON, unpacked once

const unpacked = new Map();

function unpack(name) {
  if (!unpacked.has(name)) unpacked.set(name, readText(name).then(JSON.parse));
  return unpacked.get(name);
}

function readText(name) {
  const bytes = Uint8Array.from(atob(byId("piece-" + name).textContent), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

// ---- charts

const hiddenRuns = new Set();
const drawn = new Set();

function theme() {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const axis = (name) => ({ [name + ".gridcolor"]: colour("--grid"), [name + ".linecolor"]: colour("--line") });
  return {
    "font.color": colour("--text"), "font.size": 11.5, "font.family": getComputedStyle(document.body).fontFamily,
    "hoverlabel.bgcolor": colour("--card"), "hoverlabel.bordercolor": colour("--line"), "hoverlabel.font.color": colour("--text"),
    "modebar.bgcolor": "rgba(0,0,0,0)", "modebar.color": colour("--faint"), "modebar.activecolor": colour("--accent"),
    ...axis("xaxis"), ...axis("yaxis"),
  };
}

// A chart of charts.py as data and layout of plotly; every trace's meta is the number of its run.
function makeFigure(chart) {
  const axis = { zeroline: false, automargin: true };
  const vertical = { ...axis, rangemode: chart.stacked || chart.percent ? "tozero" : "normal" };
  if (chart.unit) vertical.title = { text: chart.unit, standoff: 6 };
  if (chart.percent) vertical.tickformat = ".0%";
  if (chart.percent && chart.stacked) vertical.range = [0, 1];
  const layout = {
    margin: { l: 12, r: 12, t: 8, b: 12 }, hovermode: "x unified", showlegend: chart.names > 1 && chart.names <= MOST_NAMES,
    legend: { orientation: "h", x: 0, y: 1.03, yanchor: "bottom", traceorder: "normal", font: { size: 11.5 } },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    xaxis: { ...axis, title: { text: "step", standoff: 4 } }, yaxis: vertical, shapes: makeMarks(chart),
  };
  return { data: chart.lines.map((line) => makeTrace(chart, line)), layout };
}

function makeTrace(chart, line) {
  const looks = {
    low: { line: { width: 0 }, showlegend: false },
    high: { line: { width: 0 }, showlegend: false, fill: "tonexty", fillcolor: line.colour + "26" },
    line: { line: { color: line.colour, width: 2, dash: DASHES[line.style % DASHES.length] } },
    layer: { line: { color: line.colour, width: 0.5 }, stackgroup: "layers", fillcolor: line.colour + "cc" },
  };
  return {
    x: line.steps, y: line.values, meta: line.run, showlegend: line.named,
    name: escapeMarkup(line.name),  // plotly takes some tags in names for mark-up
    mode: line.role === "line" && line.steps.length <= FEW_POINTS ? "lines+markers" : "lines",
    marker: { color: line.colour, size: 6 },
    hovertemplate: chart.percent ? "%{y:.1%}" : chart.stacked ? "%{y:.2f}" : "%{y:.4g}",
    ...looks[line.role],
  };
}

// A line where a run was continued under other settings.
function makeMarks(chart) {
  return chart.marks.filter((mark) => chart.stacked || !hiddenRuns.has(mark.run)).map((mark) => ({
    type: "line", x0: mark.step, x1: mark.step, yref: "paper", y0: 0, y1: 1, line: { color: mark.colour, width: 1, dash: "dot" },
    label: { text: escapeMarkup(mark.text), textposition: "end", xanchor: "right", font: { size: 10, color: mark.colour } },
  }));
}

function draw(element) {
  if (drawn.has(element) || element.hidden) return;
  drawn.add(element);
  const chart = CHARTS[element.dataset.chart];
  const figure = makeFigure(chart);
  for (const trace of figure.data) if (!chart.stacked) trace.visible = !hiddenRuns.has(trace.meta);
  Plotly.newPlot(element, figure.data, figure.layout, PLOT_OPTIONS);
  // With a view box, paper scales the drawing to its own width.
  element.on("plotly_afterplot", () => {
    for (const svg of element.querySelectorAll("svg.main-svg")) {
      svg.setAttribute("viewBox", `0 0 ${svg.getAttribute("width")} ${svg.getAttribute("height")}`);
    }
  });
  Plotly.relayout(element, theme());
}

const overlaid = () => [...drawn].filter((element) => !element.closest("[data-of-run]"));

function switchRun(run, on) {
  hiddenRuns[on ? "delete" : "add"](run);
  for (const element of overlaid()) {
    Plotly.restyle(element, { visible: element.data.map((trace) => !hiddenRuns.has(trace.meta)) });
    Plotly.relayout(element, { shapes: makeMarks(CHARTS[element.dataset.chart]) });
  }
}

function showComposition(run) {
  for (const card of document.querySelectorAll("[data-of-run]")) {
    card.hidden = card.dataset.ofRun !== String(run);
    const plot = card.querySelector(".plot");
    if (!card.hidden && plot && window.Plotly) draw(plot);
  }
}

// The page's policy allows this text by its hash.
async function loadPlotly() {
  const script = document.createElement("script");
  script.textContent = await readText("plotly");
  document.head.append(script);
}

async function startCharts() {
  showComposition("0");
  await loadPlotly();
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) draw(entry.target);
  }, { rootMargin: "600px" });
  const plots = [...document.querySelectorAll("[data-chart]")];
  for (const plot of plots) seen.observe(plot);
  // The other charts are drawn one by one while the browser is idle, before anybody scrolls there.
  const drawNext = () => {
    const plot = plots.shift();
    if (!plot.closest("[hidden]")) draw(plot);
    if (plots.length) requestIdleCallback(drawNext, { timeout: 1000 });
  };
  if (plots.length) requestIdleCallback(drawNext, { timeout: 1000 });
  for (const box of document.querySelectorAll("#run-switches input")) {
    box.checked = true;
    box.addEventListener("change", () => switchRun(Number(box.dataset.run), box.checked));
  }
  byId("composition-run")?.addEventListener("change", (event) => showComposition(event.target.value));
  const recolour = () => drawn.forEach((element) => Plotly.relayout(element, theme()));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
  addEventListener("beforeprint", () => document.querySelectorAll("figure:not([hidden]) [data-chart]").forEach(draw));
}

async function startExplorer() {
  const select = byId("metric");
  const runs = await unpack("metrics");
  const names = [...new Set(runs.flatMap((run) => Object.keys(run)))].sort();
  if (!names.length) select.closest(".explorer").hidden = true;
  for (const name of names) select.add(new Option(visible(name), name));
  const labels = [...document.querySelectorAll("#run-switches bdi")].map((label) => label.textContent);
  const colours = [...document.querySelectorAll("#run-switches i")].map((dot) => dot.style.background);
  select.addEventListener("change", () => {
    const plot = byId("metric-plot");
    plot.hidden = !select.value;
    if (plot.hidden) return;
    const lines = runs.flatMap((run, number) => {
      const [steps, values] = run[select.value] ?? [[], []];
      const colour = colours[number] ?? "#3b82f6";
      return [{ run: number, name: labels[number] ?? select.value, steps, values, role: "line", style: 0, named: true, colour }];
    });
    const marks = Object.values(CHARTS)[0].marks;  // every chart has them
    CHARTS.metric = { unit: "", percent: false, stacked: false, names: lines.length, lines, marks };
    plot.dataset.chart = "metric";
    drawn.delete(plot);
    draw(plot);
  });
}

const escapeMarkup = (text) => visible(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;");

// ---- text as it is: characters that are invisible, or that reverse the line, are shown by their number

const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\u{fffd}]/u;
const number = (character) => "U+" + character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
const isHidden = (character) => HIDDEN.test(character) && character !== "\n" && character !== "\t";
const visible = (text) => [...text].map((one) => (isHidden(one) || one === "\n" ? "⟨" + number(one) + "⟩" : one)).join("");

function write(element, text) {
  let plain = "";
  const flush = () => { if (plain) element.append(plain); plain = ""; };
  for (const character of text) {
    if (isHidden(character)) {
      flush();
      element.append(make("span", "hidden-character", number(character)));
    } else plain += character;
  }
  flush();
  return element;
}

function make(tag, className = "", text = null) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== null) element.textContent = text;
  return element;
}

// ---- the rollout browser

const COLUMNS = ["run", "kind", "step", "group", "position", "score", "outcome", "reason", "source", "signal", "request"];
const FILTERS = ["run", "kind", "step", "source", "score", "outcome", "reason", "signal"];
const KIND_NAMES = { rollouts: "training", validation: "validation" };
const state = { rows: [], found: [], page: 0, current: null };
const slug = (words) => words.replaceAll(" ", "-");
const decimal = (value, digits = 3) => (value === null ? "–" : String(Number(value.toFixed(digits))));
const signed = (value) => (value === null ? "–" : (value > 0 ? "+" : "") + value.toFixed(2));

async function startRollouts() {
  const rows = await unpack("index");
  state.rows = rows.map((row) => Object.fromEntries(COLUMNS.map((name, place) => [name, row[place]])));
  fillFilters();
  const form = byId("filters");
  form.addEventListener("input", () => { state.page = 0; filter(); remember(); });
  form.addEventListener("reset", () => setTimeout(() => { state.page = 0; filter(); remember(); }));
  form.addEventListener("submit", (event) => event.preventDefault());
  byId("back").addEventListener("click", () => turn(-1));
  byId("next").addEventListener("click", () => turn(1));
  recall();
  filter();
  // First a failure in a group in which other rollouts are right.
  const wanted = state.found.find((row) => key(row) === recalled) ??
    state.found.find((row) => row.signal === "mixed" && row.outcome !== "right") ?? state.found[0];
  if (wanted) await show(wanted);
}

function fillFilters() {
  const form = byId("filters");
  for (const name of FILTERS) {
    const select = form.elements[name];
    if (!select || name === "run") continue;
    const counts = new Map();
    for (const row of state.rows) counts.set(row[name], (counts.get(row[name]) ?? 0) + 1);
    const numeric = name === "step" || name === "score";
    const values = [...counts.keys()].sort((a, b) => (numeric ? a - b : counts.get(b) - counts.get(a)));
    select.append(new Option("all", ""));
    for (const value of values) {
      const label = name === "kind" ? KIND_NAMES[value] : name === "score" ? decimal(value) : visible(String(value));
      select.add(new Option(`${label} (${counts.get(value).toLocaleString("en")})`, String(value)));
    }
  }
}

function filter() {
  const form = byId("filters");
  const wanted = FILTERS.filter((name) => form.elements[name]?.value).map((name) => [name, form.elements[name].value]);
  const text = form.elements.text.value.toLowerCase();
  state.found = state.rows.filter((row) =>
    wanted.every(([name, value]) => String(row[name]) === value) && (!text || row.request.toLowerCase().includes(text)));
  showList();
}

function turn(pages) {
  state.page += pages;
  showList();
  byId("rollouts").scrollIntoView();
}

function showList() {
  const last = Math.max(0, Math.ceil(state.found.length / PAGE_SIZE) - 1);
  state.page = Math.min(Math.max(0, state.page), last);
  byId("count").textContent = `${state.found.length.toLocaleString("en")} rollouts`;
  byId("page").textContent = `${state.page + 1} of ${last + 1}`;
  byId("back").disabled = state.page === 0;
  byId("next").disabled = state.page === last;
  const rows = state.found.slice(state.page * PAGE_SIZE, (state.page + 1) * PAGE_SIZE);
  byId("list").replaceChildren(...rows.map(listItem));
}

function listItem(row) {
  const item = make("li");
  item.tabIndex = 0;
  item.dataset.key = key(row);
  if (state.current && key(state.current) === key(row)) item.setAttribute("aria-current", "true");
  const kind = row.kind === "validation" ? "validation, " : "";
  item.append(
    write(make("span", "what"), `${runName(row)}${kind}step ${row.step} · ${row.source}`),
    make("span", "tag " + slug(row.outcome), row.outcome === "right" ? "right" : row.reason),
    write(make("span", "request"), row.request || "(empty prompt)"));
  const open = () => show(row, true);
  item.addEventListener("click", open);
  item.addEventListener("keydown", (event) => { if (event.key === "Enter") open(); });
  return item;
}

const key = (row) => [row.run, row.kind, row.step, row.group, row.position].join("-");

function runName(row) {
  const label = document.querySelectorAll("#run-switches bdi")[row.run];
  return label ? label.textContent + ", " : "";
}

async function show(row, chosen = false) {
  state.current = row;
  for (const item of byId("list").children) {
    if (item.dataset.key === key(row)) item.setAttribute("aria-current", "true");
    else item.removeAttribute("aria-current");
  }
  const group = (await unpack(`${row.run}-${row.kind}-${row.step}`))[row.group];
  if (state.current !== row) return;
  const article = byId("rollout");
  article.replaceChildren(...rolloutParts(row, group));
  article.scrollTop = 0;
  if (!chosen) return;
  remember();
  if (matchMedia("(max-width: 900px)").matches) article.scrollIntoView();
}

function rolloutParts(row, group) {
  const one = group.rollouts[row.position];
  const parts = [meta(row, one), write(make("p", "why tag " + slug(one.outcome)), one.detail ? `${one.reason}: ${one.detail}` : one.reason)];
  if (group.size > 1) parts.push(...groupButtons(row, group));
  const calls = one.response.indexOf("<tool_call>");
  const reasoning = (calls < 0 ? one.response : one.response.slice(0, calls)).trim();
  parts.push(make("h3", "", "Reasoning"), reasoning ? write(make("pre", "long"), reasoning) : make("p", "empty", "none"));
  parts.push(make("h3", "", "Calls"), ...callPairs(one, group));
  parts.push(folded("Response as written", marked(one), one.outcome !== "right" && !one.pairs));
  parts.push(folded("Prompt", write(make("pre", "long"), group.prompt), true));
  return parts;
}

function meta(row, one) {
  const line = make("div", "meta");
  const kind = row.kind === "validation" ? "validation" : "training";
  const facts = [`${runName(row)}${kind}, step ${row.step}`, row.source, `score ${decimal(one.score)}`];
  if (one.advantage !== null) facts.push(`advantage ${signed(one.advantage)}`);
  facts.push(`line ${one.number} of the dump`);
  line.append(...facts.map((fact) => write(make("span"), fact)));
  return line;
}

function groupButtons(row, group) {
  const strip = make("div", "group");
  group.rollouts.forEach((other, position) => {
    const button = make("button", slug(other.outcome));
    button.type = "button";
    button.setAttribute("aria-pressed", String(position === row.position));
    button.title = other.reason;
    button.append(make("b", "", `score ${decimal(other.score)}`), make("span", "", `advantage ${signed(other.advantage)}`));
    const target = state.rows.find((one) => key(one) === key({ ...row, position }));
    button.addEventListener("click", () => show(target, true));
    strip.append(button);
  });
  const hidden = group.size - group.rollouts.length;
  const text = `Group of ${group.size}, ${group.signal}` + (hidden ? `; ${hidden} are not shown` : "");
  return [make("h3", "", text), strip];
}

function callPairs(one, group) {
  if (!one.pairs) {
    const pair = make("div", "pair");
    pair.append(side("The calls cannot be read", "see the response below", null), side("Expected", group.ground_truth, null));
    return [pair];
  }
  if (!one.pairs.length) return [make("p", "empty", "none, and none was expected")];
  return one.pairs.map(([got, wanted, line]) => {
    const pair = make("div", "pair");
    pair.append(
      side(line === null ? "Called, as expected" : "Called", got ?? "no such call", got === null ? null : line),
      side("Expected", wanted ?? "no such call", wanted === null ? null : line));
    return pair;
  });
}

function side(title, text, line) {
  const box = make("div");
  const code = make("pre");
  text.split("\n").forEach((part, place) => {
    if (place) code.append("\n");
    code.append(write(make(place === line ? "mark" : "span"), part));
  });
  box.append(make("span", "", title), code);
  return box;
}

function marked(one) {
  const code = make("pre", "long");
  if (one.mistake === null) return write(code, one.response);
  // Positions count characters as in Python, where a pair of surrogates is one character.
  const characters = [...one.response];
  const place = Math.min(one.mistake, characters.length);
  write(code, characters.slice(0, place).join(""));
  code.append(place < characters.length ? write(make("mark"), characters[place]) : make("mark", "", "⟨end⟩"));
  return write(code, characters.slice(place + 1).join(""));
}

function folded(title, content, open) {
  const box = make("details");
  box.open = open;
  box.append(make("summary", "", title), content);
  return box;
}

// ---- the address keeps what is shown, so that a reloaded or shared page shows the same

let recalled = null;

function remember() {
  const form = byId("filters");
  const kept = new URLSearchParams();
  for (const name of [...FILTERS, "text"]) if (form.elements[name]?.value) kept.set(name, form.elements[name].value);
  if (state.current) kept.set("rollout", key(state.current));
  history.replaceState(null, "", "#rollouts?" + kept);
}

function recall() {
  const kept = new URLSearchParams(location.hash.split("?")[1] ?? "");
  const form = byId("filters");
  for (const name of [...FILTERS, "text"]) if (form.elements[name]) form.elements[name].value = kept.get(name) ?? "";
  recalled = kept.get("rollout");
  if (recalled) byId("rollouts").scrollIntoView();
}

async function start() {
  await startRollouts();
  // The page is painted before the charts' library takes its time.
  await new Promise((then) => requestAnimationFrame(() => setTimeout(then)));
  await startCharts();
  await startExplorer();
  document.documentElement.dataset.ready = "true";
}

start();
