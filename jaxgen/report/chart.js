// Draws the charts of a page over uPlot: hover, log axes, hiding a line, zoom. Names come from strangers' runs, so text
// is only ever set as textContent, and names are keys of Maps. Where this fails, the page's static figures stay.
{
  const colour = shade => getComputedStyle(document.documentElement).getPropertyValue(`--${shade}`).trim();
  const superscript = number => [...String(number)].map(digit => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(digit)]).join("");
  const short = value => {
    if (value == null) return "";
    const size = Math.abs(value);
    if (size && (size < 1e-3 || size >= 1e10)) {
      const [mantissa, exponent] = value.toExponential(2).split("e");
      return (Number(mantissa) === 1 ? "" : `${Number(mantissa)}×`) + `10${superscript(Number(exponent))}`;
    }
    for (const [unit, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (size >= 10 * unit || (size >= unit && value % unit === 0)) return `${Number((value / unit).toPrecision(4))}${letter}`;
    }
    return String(Number(value.toPrecision(4)));
  };
  const element = (name, parent, text) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  };
  // Ticks of a logarithmic axis from `low` > 0 to `high`, at most about `room`.
  const logTicks = (low, high, room) => {
    const decades = Math.log10(high / low), first = Math.floor(Math.log10(low)), found = [];
    if (decades < 0.8) {
      const rough = (high - low) / Math.max(2, room), size = 10 ** Math.floor(Math.log10(rough));
      const step = [1, 2, 5, 10].map(part => part * size).find(part => part >= rough);
      for (let tick = Math.ceil(low / step); tick * step <= high * (1 + 1e-9); tick++) found.push(Number((tick * step).toPrecision(12)));
      return found;
    }
    const parts = decades * 3 <= room ? [1, 2, 5] : [1], stride = Math.ceil(decades / room);
    for (let decade = first; 10 ** decade <= high; decade++) {
      if ((decade - first) % stride === 0) for (const part of parts) found.push(Number(`${part}e${decade}`));
    }
    return found.filter(tick => tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9));
  };
  const MARKS = { dots: 5, diamonds: 9 };
  let figures = 0;

  class Figure {
    constructor(holder) {
      this.data = JSON.parse(holder.querySelector("script").textContent);
      this.key = `figure ${figures++}`;
      this.hidden = new Set();
      this.log = { x: this.data.logX, y: this.data.logY };
      this.plots = [];
      this.head = element("div", holder);
      this.head.className = "chart-head";
      this.panels = element("div", holder);
      this.panels.className = `chart-panels of-${Math.min(4, this.data.panels.length)}`;
      this.legend();
      this.draw();
      new ResizeObserver(() => {
        const width = this.width();
        if (width !== this.drawnWidth) this.fit(width);
      }).observe(this.panels);
    }

    width() { return Math.max(120, Math.floor(this.panels.firstElementChild?.clientWidth ?? this.panels.clientWidth)); }

    height(width) { return Math.round(Math.min(380, Math.max(190, width * 0.62))); }

    fit(width) {
      this.drawnWidth = width;
      for (const plot of this.plots) plot.setSize({ width, height: this.height(width) });
    }

    legend() {
      this.entries = new Map();
      const named = new Map();
      for (const panel of this.data.panels) {
        for (const each of panel.series) if (!named.has(each.name)) named.set(each.name, each);
      }
      const list = element("div", this.head);
      list.className = named.size > 6 ? "chart-legend" : "chart-legend few";  // room for values, so that nothing moves
      for (const [name, look] of named) {
        const button = element("button", list);
        button.type = "button";
        button.setAttribute("aria-pressed", "true");
        button.title = "show or hide this line; with Shift, the others";
        const swatch = element("i", button);
        swatch.style.borderTop = `3px ${look.dash.length ? "dotted" : "solid"} var(--${look.shade})`;
        element("span", button, name || this.data.y);
        const value = element("b", button);
        button.addEventListener("click", event => this.toggle(name, event.shiftKey));
        this.entries.set(name, { button, value });
      }
      const axes = element("div", this.head);
      axes.className = "chart-axes";
      this.place = element("span", axes);
      this.place.className = "quiet";
      for (const axis of ["x", "y"]) {
        const label = element("label", axes);
        const box = element("input", label);
        box.type = "checkbox";
        box.checked = this.log[axis];
        label.append(` log ${axis}`);
        box.addEventListener("change", () => { this.log[axis] = box.checked; this.draw(); });
      }
    }

    toggle(name, others) {
      const names = [...this.entries.keys()];
      if (others) {
        const rest = names.filter(each => each !== name);
        const alone = rest.every(each => this.hidden.has(each));
        this.hidden = new Set(alone ? [] : rest);
      } else if (!this.hidden.delete(name)) this.hidden.add(name);
      for (const [each, { button }] of this.entries) button.setAttribute("aria-pressed", String(!this.hidden.has(each)));
      for (const plot of this.plots) {
        plot.batch(() => plot.of.forEach((each, i) => plot.setSeries(i + 1, { show: !this.hidden.has(each.name) }, false)));
      }
    }

    draw() {
      for (const plot of this.plots) plot.destroy();
      this.panels.replaceChildren();
      const holders = this.data.panels.map(panel => {
        const holder = element("div", this.panels);
        if (this.data.panels.length > 1) element("p", holder, panel.title);
        return holder;
      });
      const limits = this.limits();
      const width = this.width();
      this.drawnWidth = width;
      this.plots = this.data.panels.map((panel, i) => this.plot(panel, holders[i], width, limits));
    }

    // All panels have the same axes.
    limits() {
      const xs = [], ys = [];
      for (const panel of this.data.panels) {
        for (const grid of panel.grids) xs.push(...grid);
        for (const each of panel.series) for (const y of each.y) if (y !== null && (!this.log.y || y > 0)) ys.push(y);
      }
      const least = (values, start) => values.reduce((a, b) => Math.min(a, b), start);
      const most = (values, start) => values.reduce((a, b) => Math.max(a, b), start);
      return {
        x: [least(xs, Infinity), most(xs, -Infinity)],
        y: [least(ys, Infinity), most(ys, -Infinity)],
        positive: least(xs.filter(x => x > 0), Infinity),
      };
    }

    plot(panel, holder, width, limits) {
      const tables = panel.grids.map((grid, i) => [
        grid,
        ...panel.series.filter(each => each.grid === i).map(each => each.y.map(y => this.log.y && y <= 0 ? null : y)),
      ]);
      const of = panel.grids.flatMap((_, i) => panel.series.filter(each => each.grid === i));
      const bands = [];
      of.forEach((each, i) => {
        if (each.kind !== "high") return;
        const low = of.findIndex(other => other.kind === "low" && other.name === each.name);
        if (low >= 0) bands.push({ series: [i + 1, low + 1], fill: `color-mix(in srgb, ${colour(each.shade)} 18%, transparent)` });
      });
      const muted = colour("muted"), font = `11px ${getComputedStyle(document.body).fontFamily}`;
      const axis = (label, size) => ({
        label, size, stroke: muted, font, labelFont: font, labelSize: 16, gap: 4,
        grid: { stroke: colour("grid"), width: 1 }, ticks: { show: false },
        values: (_, splits) => splits.map(short),
      });
      const ticks = (log, size, least) => log ? {
        filter: (_, splits) => splits,
        splits: (u, i, low, high) => {
          const room = Math.max(2, Math.floor((i === 0 ? u.bbox.width : u.bbox.height) / devicePixelRatio / size));
          return low > 0 ? logTicks(low, high, room) : [0, ...logTicks(least, high, Math.max(2, room - 1))];
        },
      } : { space: size };
      const title = (text, log) => !log ? text : text.endsWith(")") ? `${text.slice(0, -1)}, log scale)` : `${text} (log scale)`;
      const plot = new uPlot({
        width, height: this.height(width),
        legend: { show: false },
        padding: [8, 12, 0, 0],
        cursor: {
          sync: { key: this.key },
          drag: { x: true, y: false },
          points: { size: 6 },
          // The nearest step at which the line has a value, since runs are not measured at the same steps.
          dataIdx: (u, series, hovered) => {
            const values = u.data[series];
            for (let apart = 0; apart < values.length; apart++) {
              if (values[hovered - apart] != null) return hovered - apart;
              if (values[hovered + apart] != null) return hovered + apart;
            }
            return hovered;
          },
        },
        scales: {
          x: {
            time: false,
            ...(this.log.x ? (limits.x[0] > 0 ? { distr: 3 } : { distr: 4, asinh: limits.positive }) : {}),
            range: (_, low, high) => low < high ? [low, high] : [low / 2, high * 2 + 1],
          },
          y: this.scaleY(limits),
        },
        axes: [
          { ...axis(title(this.data.x, this.log.x), 34), ...ticks(this.log.x, 44, limits.positive) },
          { ...axis(title(this.data.y, this.log.y), 48), ...ticks(this.log.y, 28, limits.y[0]) },
        ],
        bands,
        series: [{}, ...of.map(each => this.series(each))],
        hooks: { setCursor: [u => this.hover(u)] },
      }, uPlot.join(tables), holder);
      plot.of = of;
      return plot;
    }

    scaleY(limits) {
      const [low, high] = limits.y;
      if (!(low <= high)) return { range: [0, 1] };
      if (this.log.y) return { distr: 3, range: [low / 1.4, high * 1.4] };
      if (this.data.range) return { range: [Math.min(low, this.data.range[0]), Math.max(high, this.data.range[1])] };
      const margin = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
      return { range: [low - margin, high + margin] };
    }

    series(each) {
      const stroke = colour(each.shade), width = each.kind === "thin" ? 0.8 : each.kind === "paper" ? 1.2 : 1.8;
      const base = { stroke, width, show: !this.hidden.has(each.name), dash: each.dash.map(part => part * 2), points: { show: false } };
      if (each.kind === "low" || each.kind === "high") return { ...base, width: 0, stroke: "transparent" };
      if (each.kind === "paper") return { ...base, dash: [6, 4] };
      if (each.kind in MARKS) {
        const fill = each.kind === "dots" ? stroke : colour("page");
        return { ...base, paths: () => null, points: { show: true, size: MARKS[each.kind], stroke, fill, width: 1.5 } };
      }
      return each.y.length === 1 ? { ...base, points: { show: true, size: 6, stroke, fill: stroke } } : base;
    }

    hover(plot) {
      if (plot.cursor.left < 0 || plot.cursor.idx == null) {
        for (const { value } of this.entries.values()) value.textContent = "";
        this.place.textContent = "";
        return;
      }
      if (plot.cursor.event == null) return; // another panel is under the pointer
      const found = new Map();
      plot.of.forEach((each, i) => {
        const at = plot.cursor.idxs[i + 1];
        const value = at == null ? null : plot.data[i + 1][at];
        if (value != null) (found.get(each.name) ?? found.set(each.name, {}).get(each.name))[each.kind] ??= value;
      });
      for (const [name, { value }] of this.entries) {
        const { line, low, high, thin, dots } = found.get(name) ?? {};
        const middle = line ?? thin ?? dots;
        value.textContent = middle == null ? "" : short(middle) + (low == null || low === high ? "" : ` (${short(low)} to ${short(high)})`);
      }
      this.place.textContent = `${this.data.x} ${short(plot.data[0][plot.cursor.idx])}`;
    }
  }

  const made = [];
  for (const holder of document.querySelectorAll(".chart")) {
    holder.hidden = false;
    try {
      made.push(new Figure(holder));
      holder.parentElement.classList.add("live");
    } catch (error) {
      holder.hidden = true;
      console.error(error);
    }
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => made.forEach(each => each.draw()));
}
