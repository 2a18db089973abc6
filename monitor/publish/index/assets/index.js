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

  const statusRank = Object.keys(words.status);
  const sites = SITES.rows.map((row, place) => {
    const site = { place };
    SITES.columns.forEach((name, column) => { site[name] = row[column]; });
    site.name = site.name || site.id;
    site.status = SITES.lists.status[site.status];
    [site.level, site.note] = SITES.lists.alert[site.alert] || ["none", ["", ""]];
    site.note = site.note[words.language === "zh" ? 1 : 0];
    site.alert = site.level;
    site.href = `sites/${site.folder || site.id}/${words.page}`;
    site.text = `${site.name}\n${site.id}`.toLowerCase();
    return site;
  });

  /* ---- numbers and dates as in the rest of the pages ---- */

  const signed = (value, plus) => (value < 0 ? "−" : plus && value > 0 ? "+" : "") + Math.abs(value);
  const percent = (value) => (value === null ? "–" : `${signed(value)}%`);
  const points = (value) => (value === null ? "–" : signed(value, true));
  const hectares = (value) => {
    const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
    return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  };
  const day = (iso) => {
    const [y, m, d] = iso.split("-").map(Number);
    return words.language === "zh" ? `${y}年${m}月${d}日` : `${d} ${words.months[m - 1]} ${y}`;
  };
  const ago = (iso) => {
    const n = Math.round((Date.parse(SITES.day) - Date.parse(iso)) / 86400000);
    return fill(n === 1 ? words.ago_1 : words.ago, { n });
  };
  const probability = (value) =>
    value === null ? "–" : value > 0.99 ? words.over : value < 0.01 ? words.under : percent(Math.round(100 * value));
  const place = (share) => `${Math.min(Math.max((share + 50) / 2, 0), 100)}%`;

  /* ---- what is asked for, held in the address so that it can be sent and comes back with "back" ---- */

  const asked = {};
  function readAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    for (const name of ["q", "sort", "down", ...Object.keys(words.filters)]) asked[name] = given.get(name) || "";
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
  const controls = document.querySelector("#finder .controls");
  const selects = {};
  for (const [name, list] of Object.entries(LISTS)) {
    const used = new Set(sites.map((site) => site[name]));
    const choices = list.filter(([value]) => used.has(value));
    if (BY_PLACE.includes(name)) choices.sort((a, b) => a[1].localeCompare(b[1], words.language));
    if (choices.length && used.has(NOT_STATED)) choices.push([NOT_STATED, words.unknown]);
    if (choices.length < 2) continue;
    const select = make("select", undefined, { id: `by-${name}` });
    select.append(new Option(words.any, ""), ...choices.map(([value, text]) => new Option(text, value)));
    const label = make("label", words.filters[name]);
    label.append(select);
    controls.append(label);
    selects[name] = select;
    select.addEventListener("change", () => { asked[name] = select.value; refresh(); });
  }
  const order = make("select", undefined, { id: "by-sort" });
  order.append(...Object.entries(words.sort).map(([value, text]) => new Option(text, value)));
  const orderLabel = make("label", words.order);
  orderLabel.append(order);
  controls.append(orderLabel);
  order.addEventListener("change", () => { asked.sort = order.value; asked.down = ""; refresh(); });

  const search = find("q");
  let waiting = 0;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { asked.q = search.value.trim(); refresh(); }, sites.length > 1000 ? 150 : 0);
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
  }
  addEventListener("hashchange", () => { if (!isPart()) { followAddress(); refresh(); } });

  /* ---- sorting ---- */

  const collator = new Intl.Collator(words.language === "zh" ? "zh-Hans" : "en", { numeric: true });
  const firstDown = new Set(["uplift", "theta", "probability", "hectares", "seen"]);  // these begin with the largest
  function compare(a, b) {
    if (asked.sort === "status") return a.place - b.place;
    if (asked.sort === "name") return collator.compare(a.name, b.name) || a.place - b.place;
    const x = a[asked.sort], y = b[asked.sort];
    if (x === null || y === null) return (x === null) - (y === null) || a.place - b.place;  // unknown ones last
    const up = x < y ? -1 : x > y ? 1 : 0;
    return (isDown() ? -up : up) || a.place - b.place;
  }
  const isDown = () => firstDown.has(asked.sort) !== Boolean(asked.down);
  const heads = [...document.querySelectorAll("#finder th[data-sort]")];
  for (const head of heads) {
    const button = make("button", head.textContent, { type: "button" });
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      asked.down = asked.sort === head.dataset.sort && !asked.down ? "1" : "";
      asked.sort = head.dataset.sort;
      refresh();
    });
  }

  /* ---- the list ---- */

  const STEP = 50;
  const body = document.querySelector("#finder tbody");
  const model = document.querySelector("#finder template").content.firstElementChild;
  const more = find("more");
  let shown = [], count = 0;

  function rowOf(site) {
    const row = model.cloneNode(true);
    const [head, alert, theta, up, p, ha, seen] = row.children;
    const link = head.firstElementChild;
    link.href = site.href;
    link.firstElementChild.textContent = site.name;
    set(head.lastElementChild, site.name === site.id ? "" : site.id);
    const [status, level, note] = alert.children;
    status.className = `status s-${site.status}`;
    status.textContent = words.status[site.status];
    level.className = `alert a-${site.level}`;
    set(level, site.level === "none" ? "" : words.level[site.level]);
    set(note, site.note);
    const [share, interval, bar, confirmed] = theta.children;
    share.textContent = percent(site.theta);
    if (["insufficient_data", "too_early", "undecided"].includes(site.status)) theta.className += " pale";
    if (site.theta !== null && site.low !== null && site.high !== null) {
      interval.textContent = percent(site.low) + words.to + percent(site.high);
      bar.style.setProperty("--l", place(site.low));
      bar.style.setProperty("--m", place(site.theta));
      bar.style.setProperty("--r", place(site.high));
    } else { interval.remove(); bar.remove(); }
    set(confirmed, site.confirmed ? fill(words.confirmed, { day: day(site.confirmed) }) : "");
    up.textContent = `${points(site.uplift)} / ${points(site.expected)}`;
    p.textContent = probability(site.probability);
    ha.textContent = hectares(site.hectares);
    seen.firstElementChild.textContent = site.seen ? day(site.seen) : words.never;
    set(seen.lastElementChild, site.seen ? ago(site.seen) : "");
    return row;
  }
  function set(element, text) {
    if (text) element.textContent = text; else element.remove();
  }
  function showMore() {
    const next = shown.slice(count, count + STEP);
    body.append(...next.map(rowOf));
    count += next.length;
    more.hidden = count >= shown.length;
    more.textContent = fill(words.more, { n: Math.min(STEP, shown.length - count) });
  }
  addEventListener("beforeprint", () => { while (!more.hidden) showMore(); });
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
    if (asked.down && (asked.sort === "status" || asked.sort === "name")) shown.reverse();
    body.replaceChildren();
    count = 0;
    showMore();
    find("count").textContent = fill(words.shown, { n: whole.format(shown.length), all: whole.format(sites.length) });
    order.value = asked.sort;
    for (const head of heads) {
      if (head.dataset.sort === asked.sort) head.setAttribute("aria-sort", isDown() ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
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
    const graticule = L.layerGroup().addTo(view);
    const outlines = L.featureGroup().addTo(view), marks = L.featureGroup().addTo(view);
    const markOf = new Map(), outlineOf = new Map();
    let visible = [], paint = {};

    function style(site) {
      const own = LINES[site.status];
      return { color: paint[site.status], weight: own.weight || 2, dashArray: own.dash || null, fillColor: own.fill ? paint[site.status] : paint.band, fillOpacity: own.fill || 0.25 };
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

  find("plain").remove();
  find("finder").hidden = false;
  document.querySelector(".still").classList.add("on-paper");  // there the map that moves cannot be used
  find("live").hidden = false;
  let map = null;
  followAddress();
  refresh();
  document.documentElement.dataset.ready = "list";
  setTimeout(() => {  // once the list can be used
    map = drawMap();
    map.show(shown);
    document.documentElement.dataset.ready = "map";
  });
})();
