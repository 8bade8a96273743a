"use strict";
// The page is complete without this script; it adds values under the pointer, samples on the map, and copy buttons.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  document.documentElement.classList.add("scripted-page");

  const make = (name, properties = {}, ...children) => {
    const node = Object.assign(document.createElement(name), properties);
    node.append(...children);
    return node;
  };
  const draw = (parent, name, attributes) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return parent.appendChild(node);
  };
  const plain = (value) => {
    if (value === null) return "not finite";
    const size = Math.abs(value);
    const text = size && size < 1e-3 ? value.toExponential(2).replace(/\.?0+e/, "e")
      : size >= 1000 ? Math.round(value).toLocaleString("en") : Number(value.toPrecision(3)).toString();
    return text.replace(/^-/, "−");
  };
  // Where the pointer is, in the units of a drawing's viewBox.
  const inside = (svg, event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());

  function copyButtons() {
    for (const box of document.querySelectorAll(".code")) {
      const button = make("button", { type: "button", textContent: "Copy" });
      button.addEventListener("click", async () => {
        const code = box.querySelector("code");
        try {
          await navigator.clipboard.writeText(code.textContent);
          button.textContent = "Copied";
        } catch {
          getSelection().selectAllChildren(code);
          button.textContent = "Selected";
        }
        setTimeout(() => { button.textContent = "Copy"; }, 1600);
      });
      box.append(button);
    }
  }

  function charts() {
    const all = [...document.querySelectorAll("svg.chart")].map((svg) => {
      const data = JSON.parse(svg.dataset.chart);
      const [left, right, first, last] = data.x;
      const [bottom, top, low, high, log] = data.y;
      const bend = log ? Math.log : (value) => value;
      return {
        svg, points: data.points,
        readout: svg.parentElement.querySelector(".readout"),
        x: (step) => left + (step - first) / (last - first || 1) * (right - left),
        y: (value) => bottom + (bend(value) - bend(low)) / (bend(high) - bend(low)) * (top - bottom),
        step: (x) => first + (x - left) / (right - left) * (last - first),
        line: draw(svg, "path", { class: "cursor" }),
        dot: draw(svg, "circle", { class: "cursor-dot", r: 3.5, visibility: "hidden" }),
        top, bottom,
      };
    });
    const nearest = (points, step) => points.reduce((best, point) =>
      Math.abs(point[0] - step) < Math.abs(best[0] - step) ? point : best);
    const show = (wanted) => {
      for (const chart of all) {
        const [step, value] = nearest(chart.points, wanted);
        chart.line.setAttribute("d", `M${chart.x(step)} ${chart.top}V${chart.bottom}`);
        chart.dot.setAttribute("visibility", value === null ? "hidden" : "visible");
        if (value !== null) {
          chart.dot.setAttribute("cx", chart.x(step));
          chart.dot.setAttribute("cy", chart.y(value));
        }
        chart.readout.replaceChildren(make("small", { textContent: `step ${step.toLocaleString("en")} ` }), plain(value));
      }
    };
    const hide = () => {
      for (const chart of all) {
        chart.line.removeAttribute("d");
        chart.dot.setAttribute("visibility", "hidden");
        chart.readout.textContent = chart.readout.dataset.last;
      }
    };
    for (const chart of all) {
      let at = chart.points.length - 1;
      chart.svg.setAttribute("tabindex", "0");
      chart.svg.addEventListener("pointermove", (event) => show(chart.step(inside(chart.svg, event).x)));
      chart.svg.addEventListener("pointerleave", hide);
      chart.svg.addEventListener("blur", hide);
      chart.svg.addEventListener("keydown", (event) => {
        const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (!move) return;
        event.preventDefault();
        at = Math.min(Math.max(at + move, 0), chart.points.length - 1);
        show(chart.points[at][0]);
      });
    }
  }

  function maps() {
    const source = document.getElementById("map-data");
    if (!source) return;
    const data = JSON.parse(source.textContent);
    const tip = document.getElementById("tip");
    const panel = document.getElementById("inspect");
    const title = (index) => data.names[data.label[index]];
    const cell = (index) => {
      if (data.text.length) return make("span", { className: "words", textContent: data.text[index] });
      const node = make("span", { className: "cell" });
      const share = (place, count) => (count > 1 ? place / (count - 1) * 100 : 0);
      node.style.backgroundPosition =
        `${share(index % data.columns, data.columns)}% ${share(Math.floor(index / data.columns), data.rows)}%`;
      node.setAttribute("role", "img");
      node.setAttribute("aria-label", `Sample ${data.id[index]}, ${title(index)}`);
      return node;
    };
    const all = [...document.querySelectorAll("svg.map")].map((svg) => ({
      svg,
      spots: [...svg.querySelectorAll("use")].map((node) => [Number(node.getAttribute("x")), Number(node.getAttribute("y"))]),
      links: draw(svg, "path", { class: "links" }),
      ring: draw(svg, "circle", { class: "ring", r: 8, visibility: "hidden" }),
    }));
    const ring = (index) => {
      for (const map of all) {
        map.ring.setAttribute("visibility", index === null ? "hidden" : "visible");
        if (index === null) continue;
        map.ring.setAttribute("cx", map.spots[index][0]);
        map.ring.setAttribute("cy", map.spots[index][1]);
      }
    };
    const under = (map, event) => {
      const at = inside(map.svg, event);
      let best = null, least = 18 ** 2;
      map.spots.forEach(([x, y], index) => {
        const far = (x - at.x) ** 2 + (y - at.y) ** 2;
        if (far < least) [best, least] = [index, far];
      });
      return best;
    };
    let picked = null;
    const leave = () => { tip.hidden = true; ring(picked); };
    const pick = (index) => {
      picked = index;
      ring(index);
      const close = make("button", { type: "button", textContent: "Close" });
      close.addEventListener("click", () => {
        picked = null;
        panel.hidden = true;
        ring(null);
        for (const map of all) map.links.removeAttribute("d");
      });
      const head = make("div", { className: "head" }, cell(index),
        make("p", {}, make("b", { textContent: title(index) }), ` sample ${data.id[index]} and its nearest neighbours`), close);
      panel.replaceChildren(head, ...data.maps.map((one, which) => {
        const map = all[which];
        const [x, y] = map.spots[index];
        map.links.setAttribute("d", one.nearest[index].map((near) => `M${x} ${y}L${map.spots[near].join(" ")}`).join(""));
        const list = make("ol", {}, ...one.nearest[index].map((near, rank) => {
          const known = data.label[near] >= 0 && data.label[index] >= 0;
          const sign = !known ? "" : data.label[near] === data.label[index] ? "✓ " : "✗ ";
          const name = known && sign === "✗ " ? ` ${title(near)}` : "";
          return make("li", {}, cell(near), make("small", { textContent: sign + one.similarity[index][rank].toFixed(2) + name }));
        }));
        return make("div", { className: "line" }, make("span", { className: "metric", textContent: one.title }), list);
      }));
      panel.hidden = false;
    };
    for (const map of all) {
      map.svg.addEventListener("pointermove", (event) => {
        const index = under(map, event);
        if (index === null) return leave();
        ring(index);
        tip.replaceChildren(cell(index), make("span", {}, make("b", { textContent: title(index) }),
          make("small", { textContent: `sample ${data.id[index]}` })));
        tip.hidden = false;
        const width = document.documentElement.clientWidth;
        tip.style.left = `${Math.max(8, Math.min(event.clientX + 16, width - tip.offsetWidth - 8))}px`;
        tip.style.top = `${Math.max(8, event.clientY - tip.offsetHeight - 12)}px`;
      });
      map.svg.addEventListener("pointerleave", leave);
      map.svg.addEventListener("click", (event) => {
        const index = under(map, event);
        if (index !== null) pick(index);
      });
    }
    for (const node of document.querySelectorAll("[data-sample]")) {
      const go = () => {
        pick(Number(node.dataset.sample));
        panel.scrollIntoView({ block: "nearest" });
      };
      const image = node.querySelector("img, .words");
      image.tabIndex = 0;
      image.setAttribute("role", "button");
      image.title = "Show on the map";
      image.addEventListener("click", go);
      image.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        go();
      });
    }
  }

  copyButtons();
  charts();
  maps();
})();
