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
if (section) {
  stepThrough(section);
  colourByScore(section);
  readOutTokens(section);
}

// Samples: one group at a time, chosen by evaluation, prompt and seed.
function stepThrough(section) {
  const groups = [...section.querySelectorAll(".group")];
  const choosers = [...section.querySelectorAll(".chooser")];
  const axes = choosers.map((chooser) => {
    const name = chooser.dataset.axis;
    return { name, chooser, values: [...new Set(groups.map((group) => group.dataset[name]))], at: 0 };
  });
  axes[0].at = axes[0].values.length - 1; // the last evaluation

  function show() {
    for (const group of groups) {
      group.hidden = !axes.every((axis) => group.dataset[axis.name] === axis.values[axis.at]);
    }
    for (const { chooser, values, at } of axes) {
      const count = values.length > 1 ? ` (${at + 1} of ${values.length})` : "";
      chooser.querySelector("output").textContent = values[at] + count;
    }
  }

  function move(axis, by) {
    axis.at = (axis.at + by + axis.values.length) % axis.values.length;
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
      readout.textContent = token ? `token ${at + 1} of ${tokens.length}: ${token.title}` : "";
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
