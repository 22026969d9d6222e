"use strict";

// Arms: a button hides all that belongs to its arm, by a class on the body.
for (const button of document.querySelectorAll(".arm-button")) {
  button.disabled = false;
  button.addEventListener("click", () => {
    const shown = button.getAttribute("aria-pressed") === "true";
    button.setAttribute("aria-pressed", String(!shown));
    document.body.classList.toggle(`hide-${button.dataset.arm}`, shown);
  });
}

const section = document.getElementById("samples");
if (section?.querySelector(".group")) {
  stepThrough(section);
  colourByScore(section);
  readOutTokens(section);
}

// On paper nothing can be opened.
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const each of closed) each.open = true;
});
addEventListener("afterprint", () => {
  for (const each of closed) each.open = false;
});

// Samples: one group at a time, chosen by evaluation, prompt and seed. Not every combination is there.
function stepThrough(section) {
  const groups = [...section.querySelectorAll(".group")];
  const axes = [...section.querySelectorAll(".chooser")].map((chooser) => {
    const name = chooser.dataset.axis;
    return { name, chooser, values: [...new Set(groups.map((group) => group.dataset[name]))] };
  });
  let current = groups.find((group) => group.dataset.when === "last") ?? groups[0];

  function show() {
    for (const group of groups) group.hidden = group !== current;
    for (const { name, chooser, values } of axes) {
      const value = current.dataset[name];
      const count = values.length > 1 ? ` (${values.indexOf(value) + 1} of ${values.length})` : "";
      chooser.querySelector("output").textContent = value + count;
    }
  }

  // To the next value at which all else can stay; where there is none, to what is most like this.
  function move(axis, by) {
    const { length } = axis.values;
    const start = axis.values.indexOf(current.dataset[axis.name]);
    const coming = axis.values.slice(1).map((_, n) => axis.values[(start + by * (n + 1) + length * length) % length]);
    const kept = (group) =>
      axes.filter((one) => one !== axis && group.dataset[one.name] === current.dataset[one.name]).length;
    const nearest = coming.map((value) =>
      groups.filter((group) => group.dataset[axis.name] === value).sort((a, b) => kept(b) - kept(a))[0],
    );
    current = nearest.find((group) => kept(group) === axes.length - 1) ?? nearest[0] ?? current;
    show();
  }

  for (const axis of axes) {
    const [back, on] = axis.chooser.querySelectorAll("button");
    back.addEventListener("click", () => move(axis, -1));
    on.addEventListener("click", () => move(axis, 1));
    axis.chooser.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
      if (by) {
        event.preventDefault();
        move(axis, by);
      }
    });
    axis.chooser.hidden = axis.values.length < 2;
  }
  section.querySelector(".tools").hidden = false;
  show();
}

// Colour by credit or by token score.
function colourByScore(section) {
  const button = document.getElementById("by-score");
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    section.classList.toggle("by-score", on);
  });
}

// The numbers of one token, under the pointer or chosen with the arrow keys.
function readOutTokens(section) {
  for (const response of section.querySelectorAll(".response")) {
    const tokens = [...response.children];
    const readout = response.parentElement.querySelector(".readout");
    let at = -1;

    function point(place) {
      tokens[at]?.classList.remove("now");
      at = place;
      const token = tokens[at];
      token?.classList.add("now");
      readout.textContent = token ? `token ${at + 1} of ${response.dataset.tokens}: ${token.title}` : "";
    }

    response.addEventListener("pointerover", (event) => {
      const place = tokens.indexOf(event.target);
      if (place >= 0) point(place);
    });
    response.addEventListener("pointerleave", () => point(-1));
    response.addEventListener("focus", () => {
      if (at < 0 && tokens.length && response.matches(":focus-visible")) point(0);
    });
    response.addEventListener("blur", () => point(-1));
    response.addEventListener("keydown", (event) => {
      const last = tokens.length - 1;
      const places = { ArrowLeft: Math.max(0, at - 1), ArrowRight: Math.min(last, at + 1), Home: 0, End: last };
      if (tokens.length && event.key in places) {
        event.preventDefault();
        point(places[event.key]);
      }
    });
  }
}
