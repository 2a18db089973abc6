"use strict";
/* The index of a programme: search, filters, sorting, and the map.

   Reads SITES (assets/sites.js), the words of the page's language (the element #words), and, once outlines are large
   enough to see, OUTLINES (assets/outlines.js). All texts are written as text, never as HTML. Without this script the
   page has a drawn map and lists by province instead. */
(() => {
  const words = JSON.parse(document.getElementById("words").textContent);
  const find = (id) => document.getElementById(id);
  const make = (tag, text, attributes = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const whole = new Intl.NumberFormat("en");

  /* ---- the sites ---- */

  const tongue = words.language === "zh" ? 1 : 0;
  const statusRank = Object.keys(words.status);
  const sites = SITES.rows.map((row, place) => {
    const site = { place };
    SITES.columns.forEach((name, column) => { site[name] = row[column]; });
    const names = [site.name || site.id, site.name_zh || site.name || site.id];
    site.name = names[tongue];
    site.other = names[1 - tongue];
    site.status = SITES.lists.status[site.status];
    [site.level, site.badge] = SITES.lists.alert[site.alert] || ["none", ["", ""]];
    site.badge = site.badge[tongue];
    site.alert = site.level;
    site.href = `sites/${site.folder || site.id}/${words.page}`;
    site.text = `${names.join("\n")}\n${site.id}`.toLowerCase();
    return site;
  });

  /* ---- numbers as in the rest of the page ---- */

  const percent = (value) => (value === null ? "–" : `${value < 0 ? "−" : ""}${Math.abs(value)}%`);
  function area(hectares) {
    const value = tongue ? 15 * hectares : hectares, digits = value >= 100 ? 0 : value >= 1 ? 1 : 2;
    return fill(words.area, { n: value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }) });
  }
  function says(site) {
    const shares = { theta: percent(site.theta), low: percent(site.low), high: percent(site.high) };
    const finding = fill(SITES.lists.finding[site.finding][tongue], shares);
    return words.status[site.status] + (finding && words.colon + finding) + " · " + area(site.hectares);
  }

  /* ---- what is asked for, held in the address so that it can be sent and comes back with "back" ---- */

  const asked = {};
  function readAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    for (const name of ["q", "sort", ...Object.keys(words.filters)]) asked[name] = given.get(name) || "";
    if (!Object.hasOwn(words.sort, asked.sort)) asked.sort = "status";
  }
  const isPart = () => find(location.hash.slice(1)) !== null;  // of this page, as #lots
  const twin = document.querySelector("a.tongue");
  const twinPage = twin.getAttribute("href");
  function remember() {
    const given = new URLSearchParams(Object.entries(asked).filter(([name, value]) => value && !(name === "sort" && value === "status")));
    const hash = given.size ? `#${given}` : isPart() ? location.hash : "";
    history.replaceState(null, "", hash || location.pathname + location.search);
    twin.setAttribute("href", twinPage + hash);
  }

  /* ---- filters ---- */

  const LISTS = {  // value in the address and text of each choice; names, not places, which another night may change
    status: statusRank.map((name) => [name, words.status[name]]),
    alert: Object.keys(words.level).map((name) => [name, words.level[name]]),
    province: SITES.lists.province.map((name) => [name, name]),
    partner: SITES.lists.partner.map((name) => [name, name]),
    lot: SITES.lists.lot.map(([id, partner, year, intervention]) =>
      [id, [partner, year, words.intervention[intervention]].join(words.comma)]),
    manager: SITES.lists.manager.map((name) => [name, name]),
  };
  const BY_PLACE = ["province", "partner", "lot", "manager"];  // of these a site has the place in the list
  const NOT_STATED = "-";
  for (const site of sites) {
    for (const name of BY_PLACE) site[name] = site[name] < 0 ? NOT_STATED : LISTS[name][site[name]][0];
  }
  const [inSight, folded] = document.querySelectorAll("#finder .controls");
  const selects = {};
  for (const [name, list] of Object.entries(LISTS)) {
    const used = new Set(sites.map((site) => site[name]));
    const choices = list.filter(([value]) => used.has(value));
    if (BY_PLACE.includes(name)) choices.sort((a, b) => a[1].localeCompare(b[1], words.language));
    if (choices.length && used.has(NOT_STATED)) choices.push([NOT_STATED, words.unknown]);
    if (choices.length < 2) continue;
    const select = make("select", undefined, { id: `by-${name}` });
    select.append(new Option(name === "status" ? words.any_status : words.any, ""), ...choices.map(([value, text]) => new Option(text, value)));
    if (name === "status") { select.setAttribute("aria-label", words.filters.status); inSight.append(select); } else folded.append(labelled(words.filters[name], select));
    selects[name] = select;
    select.addEventListener("change", () => { asked[name] = select.value; refresh(); });
  }
  function labelled(text, control) {
    const label = make("label", text);
    label.append(control);
    return label;
  }
  const order = make("select", undefined, { id: "by-sort" });
  order.append(...Object.entries(words.sort).map(([value, text]) => new Option(text, value)));
  folded.append(labelled(words.order, order));
  order.addEventListener("change", () => { asked.sort = order.value; refresh(); });

  const search = find("q");
  let typed = 0;
  search.addEventListener("input", () => {
    clearTimeout(typed);
    typed = setTimeout(() => { asked.q = search.value.trim(); refresh(); }, sites.length > 1000 ? 150 : 0);
  });
  for (const mark of document.querySelectorAll("[data-status]")) {
    if (!selects.status || ![...selects.status.options].some((one) => one.value === mark.dataset.status)) continue;
    const button = make("button", undefined, { type: "button", class: "plainly" });
    button.append(...mark.childNodes);
    mark.append(button);
    button.addEventListener("click", () => {
      asked.status = selects.status.value = mark.dataset.status;
      refresh();
      find("sites").scrollIntoView();
    });
  }

  function followAddress() {
    readAddress();
    for (const name of Object.keys(LISTS)) {
      const select = selects[name];
      if (select) select.value = asked[name];
      asked[name] = select && select.selectedIndex > 0 ? select.value : "";
      if (select && !asked[name]) select.value = "";
    }
    search.value = asked.q;
    if (asked.sort !== "status" || Object.keys(selects).some((name) => name !== "status" && asked[name])) folded.parentNode.open = true;
  }
  addEventListener("hashchange", () => { if (!isPart()) { followAddress(); refresh(); } });

  /* ---- sorting ---- */

  const collator = new Intl.Collator(words.language === "zh" ? "zh-Hans" : "en", { numeric: true });
  const firstDown = new Set(["theta", "hectares", "seen"]);  // these begin with the largest
  function compare(a, b) {
    if (asked.sort === "status") return a.place - b.place;
    if (asked.sort === "name") return collator.compare(a.name, b.name) || a.place - b.place;
    const x = a[asked.sort], y = b[asked.sort];
    if (x === null || y === null) return (x === null) - (y === null) || a.place - b.place;  // unknown ones last
    const up = x < y ? -1 : x > y ? 1 : 0;
    return (firstDown.has(asked.sort) ? -up : up) || a.place - b.place;
  }

  /* ---- the list ---- */

  const body = find("rows");
  const STEP = 50;
  const model = body.parentNode.querySelector("template").content.firstElementChild;
  const more = find("more");
  let shown = sites, count = body.children.length;  // the first rows stand in the page

  function rowOf(site) {
    const row = model.cloneNode(true);
    const [mark, link, other, badge, small] = row.firstElementChild.children;
    mark.className = `status s-${site.status}`;
    link.href = site.href;
    link.firstElementChild.textContent = site.name;
    if (!site.other.includes(site.name) && !site.name.includes(site.other)) other.textContent = site.other; else other.remove();
    if (site.badge) { badge.className = `alert a-${site.level}`; badge.textContent = site.badge; } else badge.remove();
    small.textContent = says(site);
    if (site.name !== site.id) small.append(" · ", make("bdi", site.id, { class: "id" }));
    drawChart(row, site);
    return row;
  }
  const SVG = "http://www.w3.org/2000/svg", waiting = new Map();
  function drawChart(row, site) {  // as monitor/publish/growth_chart.py draws the first rows
    if (typeof GROWTH === "undefined") return waiting.set(row, site);
    if (!GROWTH.sites.has(site.id)) return;
    const [curve, points, low, high] = GROWTH.sites.get(site.id), [start, mature, ...plan] = GROWTH.curves[curve];
    const uplifts = points.filter((_, k) => k % 2), n = uplifts.length - 1;
    const top = 1.4 * Math.max(1000, mature, ...uplifts), bottom = Math.min(-top / 4, ...uplifts.map((value) => 1.4 * value));
    const y = (value) => (36 * (top - Math.min(Math.max(value, bottom), top)) / (top - bottom)).toFixed(1);
    const svg = document.createElementNS(SVG, "svg");
    for (const [name, value] of Object.entries({ class: "gc row", viewBox: "0 0 96 36", "aria-hidden": "true" })) svg.setAttribute(name, value);
    const add = (name, path) => {
      const element = document.createElementNS(SVG, "path");
      element.setAttribute("class", name);
      element.setAttribute("d", path);
      svg.append(element);
    };
    if (plan.length) {
      const step = (95.9 - start) / (plan.length - 1);
      const under = (share) => `M${plan.map((value, k) => `${start + k * step},${y(share * value)}`).join("L")}V36H${start}z`;
      add("zg", `M${start},0H96V36H${start}z`);
      add("za", under(0.7));
      add("zr", under(0.25));
    }
    add("zero", `M0,${y(0)}h96`);
    if (n > 0) add("path", `M${uplifts.map((value, k) => `${points[2 * k]},${y(value)}`).join("L")}`);
    if (low !== undefined) add("iv", `M${points[2 * n]},${y(low)}V${y(high)}`);
    if (n >= 0) {
      const dot = document.createElementNS(SVG, "circle");
      for (const [name, value] of Object.entries({ class: "dot", fill: `var(--${site.status})`, cx: points[2 * n], cy: y(uplifts[n]), r: 3 })) dot.setAttribute(name, value);
      svg.append(dot);
    }
    row.append(svg);
  }
  function showMore() {
    const next = shown.slice(count, count + STEP);
    body.append(...next.map(rowOf));
    count += next.length;
    say();
  }
  function say() {
    more.hidden = count >= shown.length;
    more.textContent = fill(words.more, { n: Math.min(STEP, shown.length - count) });
    find("count").textContent = fill(words.shown, { n: whole.format(shown.length), all: whole.format(sites.length) });
    order.value = asked.sort;
  }
  addEventListener("beforeprint", () => { while (!more.hidden) showMore(); find("map-box").open = true; });
  more.addEventListener("click", () => {
    const first = count;
    showMore();
    body.children[first].querySelector("a").focus();
  });

  function refresh() {
    const text = asked.q.toLowerCase();
    shown = sites.filter((site) => (!text || site.text.includes(text)) &&
      Object.keys(selects).every((name) => !asked[name] || site[name] === asked[name]));
    shown.sort(compare);
    body.replaceChildren();
    count = 0;
    showMore();
    remember();
    if (map) map.show(shown);
  }

  /* ---- the map ---- */

  const LINES = {  // as of the drawn map in index.css: filled or open, and the line, so that colour is not needed
    failing: { fill: 0.75 }, disturbed: { fill: 0.75, dash: "9 3 2 3" }, lagging: { fill: 0, weight: 3 },
    undecided: { fill: 0, dash: "6 3" }, insufficient_data: { fill: 0, dash: "2 3" }, too_early: { fill: 0, dash: "9 5" },
    on_track: { fill: 0.35 }, no_loss: { fill: 0 }, recovered: { fill: 0.6, dash: "12 3" },
  };
  const SOLID = new Set(["failing", "disturbed", "on_track", "recovered"]);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  const Mark = L.CircleMarker.extend({
    _updatePath() {
      const context = this._renderer._ctx, { x, y } = this._point;
      context.save();
      context.translate(x, y);
      if (this._map.crowded) context.scale(0.6, 0.6);
      context.fillStyle = this.options.fillColor;
      context.strokeStyle = this.options.color;
      context.lineWidth = 1.5;
      context.fill(this.options.shape);
      context.stroke(this.options.shape);
      context.restore();
    },
  });

  function drawMap() {
    const shapes = Object.fromEntries(Object.entries(words.marks).map(([name, path]) => [name, new Path2D(path)]));
    const view = L.map("map", {
      preferCanvas: true, attributionControl: false, zoomControl: false, maxZoom: 19, minZoom: 2, zoomSnap: 0.5, wheelPxPerZoomLevel: 90,
      zoomAnimation: sites.length < 2000, worldCopyJump: false,
    });
    L.control.zoom({ zoomInTitle: words.zoom_in, zoomOutTitle: words.zoom_out }).addTo(view);
    L.control.scale({ imperial: false, position: "topright" }).addTo(view);
    if (words.basemap) {
      L.control.attribution({ prefix: false }).addTo(view).addAttribution(make("i", words.basemap.credit).innerHTML);
      L.tileLayer(words.basemap.url, { maxZoom: 19 }).addTo(view);
    }
    view.scrollWheelZoom.disable();  // the wheel scrolls the page until the map is in use
    view.on("focus", () => view.scrollWheelZoom.enable());
    view.on("blur", () => view.scrollWheelZoom.disable());
    for (const [file, [west, south, east, north]] of words.grounds) {
      L.imageOverlay(file, [[south, west], [north, east]], { className: "ground", pane: "tilePane" }).addTo(view);
    }
    const graticule = L.layerGroup().addTo(view);
    const outlines = L.featureGroup().addTo(view), marks = L.featureGroup().addTo(view);
    const labels = L.layerGroup().addTo(view);
    const markOf = new Map(), outlineOf = new Map();
    let visible = [], paint = {};

    function style(site) {
      const own = LINES[site.status];
      return { color: paint[site.status], weight: own.weight || 2, dashArray: own.dash || null, fillColor: own.fill ? paint[site.status] : paint.band, fillOpacity: words.grounds.length ? 0.15 : own.fill || 0.25 };
    }
    function mark(site) {
      const solid = SOLID.has(site.status);
      return { shape: shapes[site.status], radius: 7, color: solid ? paint.paper : paint[site.status], fillColor: solid ? paint[site.status] : paint.paper };
    }
    function readColours() {
      paint = Object.fromEntries([...statusRank, "band", "paper", "rule", "soft"].map((name) => [name, colour(name)]));
    }
    function decode(rings) {
      return rings.map((ring) => {
        let lon = 0, lat = 0;
        const line = [];
        for (let i = 0; i < ring.length; i += 2) line.push([(lat += ring[i + 1]) * 1e-5, (lon += ring[i]) * 1e-5]);
        return line;
      });
    }

    let requested = false;
    function drawOutlines() {
      const metres = 40075016 * Math.cos((view.getCenter().lat * Math.PI) / 180) / 256 / 2 ** view.getZoom();
      const bounds = view.getBounds().pad(0.3);
      let large = visible.filter((site) => site.size / metres > 10 && bounds.contains([site.lat, site.lon]));
      if (large.length && typeof OUTLINES === "undefined") {
        if (!requested) {
          requested = true;
          const script = make("script", undefined, { src: "assets/outlines.js" });
          script.addEventListener("load", drawOutlines);
          document.head.append(script);
        }
        return;
      }
      if (large.length) large = large.filter((site) => OUTLINES.has(site.id));
      const wanted = new Set(large);
      for (const [site, outline] of outlineOf) {
        if (!wanted.has(site)) { outlines.removeLayer(outline); outlineOf.delete(site); }
      }
      for (const site of large) {
        if (outlineOf.has(site)) continue;
        const outline = L.polygon(decode(OUTLINES.get(site.id)), style(site));
        outline.site = site;
        outlineOf.set(site, outline);
        outlines.addLayer(outline);
      }
      for (const site of large) if (markOf.has(site)) markOf.get(site).bringToFront();
    }

    function drawGraticule() {
      graticule.clearLayers();
      const bounds = view.getBounds();
      const steps = [bounds.getEast() - bounds.getWest(), bounds.getNorth() - bounds.getSouth()].map((span) => {
        const half = Math.max(span, 1e-4) / 2, power = 10 ** Math.floor(Math.log10(half));
        return [5, 2, 1].map((m) => m * power).find((value) => value <= half);
      });
      const degrees = (value, step) => Math.abs(value).toFixed(Math.max(0, -Math.floor(Math.log10(step))));
      const [across, up] = steps;
      const line = (points, text, at) => {
        L.polyline(points, { color: paint.rule, weight: 1, interactive: false }).addTo(graticule);
        const icon = L.divIcon({ className: "degree", html: make("span", text), iconSize: null });
        L.marker(at, { icon, interactive: false, keyboard: false }).addTo(graticule);
      };
      const { lat: top } = view.containerPointToLatLng([2, 84]);  // below the buttons
      const { lat: low, lng: left } = view.containerPointToLatLng([2, view.getSize().y - 22]);
      for (let lon = Math.ceil(bounds.getWest() / across) * across; lon < bounds.getEast(); lon += across) {
        line([[bounds.getSouth(), lon], [bounds.getNorth(), lon]], `${degrees(lon, across)}° ${lon < 0 ? "W" : "E"}`, [low, lon]);
      }
      for (let lat = Math.ceil(bounds.getSouth() / up) * up; lat < bounds.getNorth(); lat += up) {
        const text = lat < top ? `${degrees(lat, up)}° ${lat < 0 ? "S" : "N"}` : "";
        line([[lat, bounds.getWest()], [lat, bounds.getEast()]], text, [lat, left]);
      }
    }

    const near = document.querySelector("#near ul");
    function listNearest() {
      const middle = view.getCenter(), bounds = view.getBounds(), shrink = Math.cos((middle.lat * Math.PI) / 180);
      const far = (site) => ((site.lon - middle.lng) * shrink) ** 2 + (site.lat - middle.lat) ** 2;
      const here = visible.filter((site) => bounds.contains([site.lat, site.lon])).map((site) => [far(site), site]);
      here.sort((a, b) => a[0] - b[0]);
      near.replaceChildren(...here.slice(0, 5).map(([, site]) => {
        const item = make("li"), link = make("a", undefined, { href: site.href });
        link.append(make("bdi", site.name));
        item.append(link, " ", make("span", words.status[site.status], { class: `status s-${site.status}` }));
        return item;
      }));
    }

    const open = (event) => { location.href = event.layer.site.href; };
    const label = (layer) => make("span", layer.site.name + words.colon + words.status[layer.site.status]);
    for (const group of [marks, outlines]) group.on("click", open).bindTooltip(label, { sticky: true });

    function fit() {
      const bounds = L.latLngBounds(visible.map((site) => [site.lat, site.lon]));
      const margin = Math.max(...visible.map((site) => site.size)) / 111200;
      const around = L.latLngBounds([bounds.getSouth() - margin, bounds.getWest() - margin], [bounds.getNorth() + margin, bounds.getEast() + margin]);
      view.fitBounds(around, { padding: [20, 20], maxZoom: 16, animate: false });
    }
    let moved = false;
    view.on("moveend", () => { if (!moved) { drawOutlines(); drawGraticule(); listNearest(); } });

    function show(chosen) {
      const wanted = new Set(chosen), same = wanted.size === visible.length && visible.every((site) => wanted.has(site));
      if (same) return;
      visible = chosen.slice();
      view.crowded = visible.length > 1000;
      for (const [site, one] of markOf) if (!wanted.has(site)) { marks.removeLayer(one); markOf.delete(site); }
      moved = true;
      if (visible.length) fit(); else if (!view._loaded) view.setView([35, 105], 4, { animate: false });
      moved = false;
      for (const site of [...visible].sort((a, b) => b.place - a.place)) {  // the worst on top
        if (markOf.has(site)) continue;
        const one = new Mark([site.lat, site.lon], mark(site));
        one.site = site;
        markOf.set(site, one);
        marks.addLayer(one);
      }
      labels.clearLayers();
      for (const site of visible.length > words.max_labels ? [] : visible) {
        const above = [site.lat + site.size / 2 / 111200, site.lon];
        L.tooltip({ permanent: true, direction: "top", className: "label", offset: [0, 2] }).setLatLng(above).setContent(make("span", site.name)).addTo(labels);
      }
      drawOutlines(); drawGraticule(); listNearest();
    }
    view.on("zoomstart zoom", () => { view.crowded = visible.length > 1000 && view.getZoom() < 9; });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      readColours();
      for (const [site, one] of markOf) { Object.assign(one.options, mark(site)); one.redraw(); }
      for (const [site, one] of outlineOf) one.setStyle(style(site));
      drawGraticule();
    });
    readColours();
    return { show };
  }

  find("plain")?.remove();
  find("finder").hidden = false;
  document.querySelector(".still").classList.add("on-paper");  // there the map that moves cannot be used
  find("live").hidden = false;
  let map = null;
  followAddress();
  if (Object.values(asked).some((value) => value && value !== "status")) refresh(); else say();
  document.documentElement.dataset.ready = "list";
  const growth = make("script", undefined, { src: "assets/growth.js" });
  growth.addEventListener("load", () => { for (const [row, site] of waiting) drawChart(row, site); });
  document.head.append(growth);
  if (!find("map").checkVisibility()) document.documentElement.dataset.ready = "map";
  new ResizeObserver(([box]) => {  // once the list can be used, and the map is not folded
    if (map || !box.contentRect.width) return;
    map = drawMap();
    map.show(shown);
    document.documentElement.dataset.ready = "map";
  }).observe(find("map"));
})();
