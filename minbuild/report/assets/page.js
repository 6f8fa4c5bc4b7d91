"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  // columns of a row: path, component, section, package, files' bytes, packed, added, change, state
  const PATH = 0, COMPONENT = 1, SECTION = 2, PACKAGE = 3, STATE = 8;
  const MEASURES = { bytes: 4, packed: 5, added: 6, change: 7 };
  const GROUPS = {
    component: (r) => [r[COMPONENT]],
    section: (r) => [r[SECTION], r[COMPONENT]],
    package: (r) => [r[PACKAGE] || (r[COMPONENT] === "unowned" ? "[in no package]" : "[made by minbuild]")],
    directory: (r) => r[PATH].split("/").slice(1, -1),
  };
  const MOST = 500;
  // Okabe and Ito's colours, which people with any kind of colour vision tell apart
  const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#7f7f7f"];
  const UP = "#b35806", DOWN = "#5e3c99", SAME = "#8d96a0";
  const sections = [...new Set(data.rows.map((r) => r[SECTION]))];
  const measure = data.compared ? "change" : "bytes";  // a comparison opens on what changed
  const state = { by: "component", size: measure, at: [], q: "", view: "map", file: "", sort: measure, up: false };
  // all tiles are drawn once into `base`; the pointer's outline is drawn over a copy of it
  const base = document.createElement("canvas");
  let root = null, tiles = [], chosen = -1, hovered = -1;

  const size = (n) => {
    const a = Math.abs(n), sign = n < 0 ? "-" : "";
    if (a >= 999500) return `${sign}${(a / 1e6).toFixed(1)} MB`;
    if (a >= 1000) return `${sign}${Math.round(a / 1e3)} kB`;
    return `${sign}${a} B`;
  };
  const signed = (n) => (n > 0 ? "+" : "") + size(n);
  const shown = (r) => !state.q || `${r[PATH]} ${r[COMPONENT]} ${r[PACKAGE]}`.toLowerCase().includes(state.q.toLowerCase());
  const worth = (r) => Math.abs(r[MEASURES[state.size]] || 0);

  function grow() {
    root = { name: data.name, children: new Map(), value: 0, files: 0, path: [] };
    for (const r of data.rows) {
      const value = worth(r);
      if (!value || !shown(r)) continue;
      let node = root;
      node.value += value; node.files += 1;
      for (const name of [...GROUPS[state.by](r), r[PATH]]) {
        let next = node.children.get(name);
        if (!next) {
          next = { name, children: new Map(), value: 0, files: 0, path: [...node.path, name], row: null };
          node.children.set(name, next);
        }
        next.value += value; next.files += 1;
        node = next;
      }
      node.row = r;
    }
  }

  function here() {
    let node = root;
    for (const name of state.at) {
      const next = node.children.get(name);
      if (!next || next.row) { state.at = node.path; break; }
      node = next;
    }
    return node;
  }

  // squarified treemap: Bruls, Huizing and van Wijk, 2000
  function squarify(nodes, x, y, w, h, put) {
    const list = [...nodes].sort((a, b) => b.value - a.value || (a.name < b.name ? -1 : 1));
    let total = list.reduce((sum, n) => sum + n.value, 0), from = 0;
    while (from < list.length && w > 0.5 && h > 0.5) {
      const side = Math.min(w, h), scale = (w * h) / total;
      let sum = 0, best = Infinity, to = from;
      while (to < list.length) {
        const next = sum + list[to].value;
        const width = (next * scale) / side;
        const worst = Math.max((list[from].value * scale) / (width * width), (width * width) / (list[to].value * scale));
        if (worst > best) break;
        best = worst; sum = next; to += 1;
      }
      const width = (sum * scale) / side;
      let at = 0;
      for (let i = from; i < to; i += 1) {
        const length = (list[i].value / sum) * side;
        if (w >= h) put(list[i], x, y + at, width, length);
        else put(list[i], x + at, y, length, width);
        at += length;
      }
      if (w >= h) { x += width; w -= width; } else { y += width; h -= width; }
      total -= sum; from = to;
    }
  }

  function colour(r) {
    if (state.size === "change") return r[7] > 0 ? UP : r[7] < 0 ? DOWN : SAME;
    return COLOURS[Math.max(0, sections.indexOf(r[SECTION])) % COLOURS.length];
  }
  const first = (node) => node.row || first(node.children.values().next().value);

  function layout(width, height) {
    tiles = [];
    const place = (node, depth) => (child, x, y, w, h) => {
      if (w < 1 || h < 1) return;
      const only = child.children.size === 1 && !child.row ? child.children.values().next().value : null;
      if (!child.row && depth < 6 && w > 26 && h > 30 && !(only && only.row)) {
        tiles.push({ node: child, x, y, w, h, head: true });
        squarify(child.children.values(), x + 2, y + 17, w - 4, h - 19, place(child, depth + 1));
      } else tiles.push({ node: only && only.row ? only : child, x, y, w, h, head: false });
    };
    const top = here();
    squarify(top.children.values(), 0, 0, width, height, place(top, 0));
  }

  function label(node) {
    const name = node.row ? node.name.slice(node.name.lastIndexOf("/") + 1) : node.name;
    return `${name}  ${state.size === "change" && node.row ? signed(node.row[7]) : size(node.value)}`;
  }

  function draw() {
    const canvas = $("map"), box = canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
    if (!box.width) return;
    canvas.width = Math.round(box.width * ratio); canvas.height = Math.round(box.height * ratio);
    base.width = canvas.width; base.height = canvas.height;
    layout(box.width, box.height);
    if (chosen < 0 && state.file) chosen = tiles.findIndex((t) => t.node.row && t.node.row[PATH] === state.file);
    fill();
    paint();
  }

  function fill() {
    const pen = base.getContext("2d"), ratio = window.devicePixelRatio || 1;
    const style = getComputedStyle(document.body);
    const ink = { color: style.color, fontFamily: style.fontFamily }, back = style.backgroundColor;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.fillStyle = back; pen.fillRect(0, 0, base.width, base.height);
    pen.textBaseline = "top";
    for (const tile of tiles) {
      const r = first(tile.node);
      pen.fillStyle = back;
      pen.fillRect(tile.x, tile.y, tile.w, tile.h);
      pen.globalAlpha = tile.head ? 0.28 : 1;
      pen.fillStyle = colour(r);
      pen.fillRect(tile.x + 0.5, tile.y + 0.5, Math.max(0, tile.w - 1), Math.max(0, tile.h - 1));
      pen.globalAlpha = 1;
      if (tile.w > 44 && tile.h > 15) {
        pen.save(); pen.beginPath(); pen.rect(tile.x, tile.y, tile.w - 3, tile.h); pen.clip();
        pen.font = `${tile.head ? "600 " : ""}12px ${ink.fontFamily}`;
        pen.fillStyle = tile.head ? ink.color : dark(colour(r)) ? "#fff" : "#111";
        pen.fillText(label(tile.node), tile.x + 5, tile.y + 3);
        pen.restore();
      }
    }
    if (!tiles.length) {
      pen.fillStyle = ink.color; pen.font = `14px ${ink.fontFamily}`;
      pen.fillText(state.q ? "No path matches." : "Nothing to show.", 16, 16);
    }
  }

  function paint() {
    const pen = $("map").getContext("2d"), ratio = window.devicePixelRatio || 1;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.drawImage(base, 0, 0);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.strokeStyle = getComputedStyle(document.body).color;
    for (const [index, wide] of [[hovered, 2], [chosen, 4]]) {
      const tile = tiles[index];
      if (!tile) continue;
      pen.lineWidth = wide;
      pen.strokeRect(tile.x + wide / 2, tile.y + wide / 2, tile.w - wide, tile.h - wide);
    }
  }
  // white has more contrast than black below this luminance: WCAG 2.2, "relative luminance"
  const dark = (hex) => {
    const [r, g, b] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b < 0.179;
  };

  const find = (x, y) => {
    for (let i = tiles.length - 1; i >= 0; i -= 1) {
      const t = tiles[i];
      if (x >= t.x && x < t.x + t.w && y >= t.y && y < t.y + t.h) return i;
    }
    return -1;
  };

  function chain(path) {
    const lines = [];
    let at = path, left = 200;
    while (data.needs[at] && left > 0) {
      const [by, kind, evidence] = data.needs[at];
      lines.unshift([at, kind, evidence]);
      at = by; left -= 1;
    }
    if (!lines.length) return "No need is known that leads here.";
    return [at, ...lines.map(([to, kind, evidence], n) => `${"   ".repeat(n)}└─ ${to}  [${kind}: ${evidence}]`)].join("\n");
  }

  function detail(node) {
    const list = $("facts"), r = node && node.row;
    list.replaceChildren();
    const say = (name, text) => {
      const dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = name; dd.textContent = text; list.append(dt, dd);
    };
    $("what").textContent = node ? node.name : "Point at a tile, or choose one with the arrow keys";
    $("why").textContent = r ? chain(r[PATH]) : "";
    if (r) {
      say("installed", size(r[4])); say("packed", `${size(r[5])} (estimated)`);
      if (r[6] !== null) say("added", `${size(r[6])} would go with it`);
      if (data.compared) say("change", `${signed(r[7])} ${r[STATE]}`);
      say("component", r[COMPONENT]); say("package", r[PACKAGE] || (r[COMPONENT] === "unowned" ? "in no package" : "made by minbuild"));
    } else if (node) {
      say(state.size, size(node.value)); say("files", String(node.files));
    }
  }

  function take(r) {
    state.file = r[PATH]; detail({ name: r[PATH], row: r }); remember();
    for (const tr of $("rows").children) tr.className = tr.firstChild.textContent === r[PATH] ? "on" : "";
  }

  function opener(r) {
    const button = document.createElement("button");
    button.textContent = r[PATH];
    button.addEventListener("focus", () => take(r));
    return button;
  }

  function table() {
    const rows = data.rows.filter(shown), key = state.sort === "path" ? PATH : state.sort === "component" ? COMPONENT : MEASURES[state.sort];
    const sign = state.up ? 1 : -1;
    const worthOf = (r) => (r[key] === null ? 0 : r[key]);
    rows.sort((a, b) => (worthOf(a) < worthOf(b) ? -sign : worthOf(a) > worthOf(b) ? sign : a[PATH] < b[PATH] ? -1 : 1));
    const body = $("rows"), parts = document.createDocumentFragment();
    for (const r of rows.slice(0, MOST)) {
      const tr = document.createElement("tr");
      if (r[PATH] === state.file) tr.className = "on";
      const cell = (text, kind) => { const td = document.createElement("td"); td.textContent = text; td.className = kind; tr.append(td); };
      cell("", "path"); tr.firstChild.append(opener(r)); cell(r[COMPONENT], ""); cell(size(r[4]), "n"); cell(size(r[5]), "n");
      cell(r[6] === null ? "" : size(r[6]), "n"); cell(data.compared ? signed(r[7]) : "", "n");
      tr.addEventListener("click", () => take(r));
      parts.append(tr);
    }
    body.replaceChildren(parts);
    $("rest").textContent = rows.length > MOST ? `[${rows.length - MOST} others: search to see them]` : `${rows.length} files`;
    for (const button of document.querySelectorAll("th button")) {
      const on = button.dataset.sort === state.sort;
      button.parentElement.setAttribute("aria-sort", on ? (state.up ? "ascending" : "descending") : "none");
    }
  }

  function crumbs() {
    const box = $("crumbs");
    box.replaceChildren();
    [data.name, ...state.at].forEach((name, depth) => {
      if (depth) box.append("›");
      const button = document.createElement("button");
      button.textContent = name;
      button.addEventListener("click", () => { state.at = state.at.slice(0, depth); chosen = -1; show(); });
      box.append(button);
    });
  }

  function legend() {
    const box = $("legend");
    box.replaceChildren();
    const pairs = state.size === "change" ? [["grown or new", UP], ["shrunk or gone", DOWN]] : sections.map((s, n) => [s, COLOURS[n % COLOURS.length]]);
    for (const [name, fill] of pairs) {
      const item = document.createElement("span"), svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      const square = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      for (const [key, value] of [["width", "100%"], ["height", "100%"], ["fill", fill]]) square.setAttribute(key, value);
      svg.append(square); item.append(svg, name); box.append(item);
    }
  }

  function remember() {
    const words = new URLSearchParams();
    words.set("by", state.by); words.set("size", state.size); words.set("view", state.view);
    if (state.at.length) words.set("at", JSON.stringify(state.at));
    if (state.q) words.set("q", state.q);
    if (state.file) words.set("file", state.file);
    if (state.view === "table") { words.set("sort", state.sort); words.set("up", state.up ? "1" : "0"); }
    history.replaceState(null, "", `#${words}`);
  }

  function recall() {
    const words = new URLSearchParams(location.hash.slice(1));
    if (words.get("by") in GROUPS) state.by = words.get("by");
    if (words.get("size") in MEASURES) state.size = words.get("size");
    if (["map", "table"].includes(words.get("view"))) state.view = words.get("view");
    if (["path", "component"].includes(words.get("sort")) || words.get("sort") in MEASURES) state.sort = words.get("sort");
    state.up = words.get("up") === "1";
    state.q = words.get("q") || ""; state.file = words.get("file") || "";
    try { const at = JSON.parse(words.get("at") || "[]"); state.at = Array.isArray(at) ? at.map(String) : []; } catch { state.at = []; }
    if (state.size === "change" && !data.compared) state.size = "bytes";
    $("search").value = state.q;
  }

  function show() {
    grow(); here();
    for (const [group, value] of [["by", state.by], ["size", state.size], ["view", state.view]])
      for (const button of document.querySelectorAll(`[data-${group}]`)) button.setAttribute("aria-pressed", String(button.dataset[group] === value));
    $("mapview").hidden = state.view !== "map"; $("tableview").hidden = state.view !== "table";
    crumbs(); legend();
    if (state.view === "map") draw(); else table();
    const row = data.rows.find((r) => r[PATH] === state.file);
    detail(row ? { name: row[PATH], row } : null);
    remember();
  }

  function enter(index) {
    const tile = tiles[index];
    if (!tile) return;
    if (tile.node.row) { state.file = tile.node.row[PATH]; chosen = index; detail(tile.node); remember(); paint(); return; }
    state.at = tile.node.path; chosen = -1; hovered = -1; state.file = ""; show();
  }

  function step(dx, dy) {
    if (!tiles.length) return;
    const from = tiles[chosen];
    if (!from) { chosen = 0; } else {
      const cx = from.x + from.w / 2, cy = from.y + from.h / 2;
      let best = Infinity, to = chosen;
      tiles.forEach((t, i) => {
        const x = t.x + t.w / 2 - cx, y = t.y + t.h / 2 - cy, along = x * dx + y * dy, across = Math.abs(x * dy) + Math.abs(y * dx);
        if (i === chosen || along <= 0.5) return;
        const far = along + 2 * across;
        if (far < best) { best = far; to = i; }
      });
      chosen = to;
    }
    detail(tiles[chosen].node); paint();
  }

  const canvas = $("map");
  const at = (event) => { const box = canvas.getBoundingClientRect(); return find(event.clientX - box.left, event.clientY - box.top); };
  canvas.addEventListener("mousemove", (event) => {
    const index = at(event);
    if (index !== hovered) { hovered = index; if (index >= 0) detail(tiles[index].node); paint(); }
  });
  canvas.addEventListener("mouseleave", () => { hovered = -1; paint(); });
  canvas.addEventListener("click", (event) => enter(at(event)));
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (moves[event.key]) { step(...moves[event.key]); event.preventDefault(); }
    if (event.key === "Enter") enter(chosen);
    if (event.key === "Backspace" || event.key === "Escape") { state.at = state.at.slice(0, -1); chosen = -1; show(); event.preventDefault(); }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== $("search")) { $("search").focus(); event.preventDefault(); }
  });
  $("search").addEventListener("input", () => { state.q = $("search").value; chosen = -1; show(); });
  for (const button of document.querySelectorAll("[data-by],[data-size],[data-view]"))
    button.addEventListener("click", () => {
      for (const group of ["by", "size", "view"]) if (button.dataset[group]) state[group] = button.dataset[group];
      if (button.dataset.by) state.at = [];
      chosen = -1; show();
    });
  for (const button of document.querySelectorAll("th button"))
    button.addEventListener("click", () => {
      state.up = state.sort === button.dataset.sort ? !state.up : button.dataset.sort === "path" || button.dataset.sort === "component";
      state.sort = button.dataset.sort; table(); remember();
    });
  window.addEventListener("resize", () => { if (state.view === "map") draw(); });
  window.addEventListener("hashchange", () => { recall(); show(); });
  if (!data.compared) document.querySelector('[data-size="change"]').disabled = true;
  $("app").hidden = false; $("plain").hidden = true;
  recall(); show();
})();
