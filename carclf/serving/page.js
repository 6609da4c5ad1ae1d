"use strict";

const SHOWN = 3; // classes per photo
const TOGETHER = 4; // requests in progress
const SCALE = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]]; // viridis, at even steps

const byId = (id) => document.getElementById(id);
const waiting = [];
let underWay = 0;
let largest = Infinity;

function add(files) {
  const cards = [...files].map((file) => {
    const card = byId("card").content.firstElementChild.cloneNode(true);
    card.querySelector(".name bdi").textContent = file.name;
    const image = card.querySelector("img");
    image.alt = file.name;
    image.addEventListener("load", () => {
      card.querySelector(".frame").style.setProperty("--ratio", image.naturalWidth / image.naturalHeight);
    });
    image.addEventListener("error", () => card.classList.add("bare"));
    image.src = URL.createObjectURL(file);
    waiting.push([file, card]);
    return card;
  });
  byId("results").prepend(...cards);
  byId("bar").hidden = !byId("results").childElementCount;
  work();
}

function work() {
  while (underWay < TOGETHER && waiting.length) {
    underWay += 1;
    const [file, card] = waiting.shift();
    classify(file)
      .then((answer) => show(card, answer))
      .catch((error) => fail(card, error.message))
      .finally(() => {
        card.classList.remove("waiting");
        card.querySelector(".progress").hidden = true;
        underWay -= 1;
        work();
      });
  }
}

async function classify(file) {
  if (file.size > largest) {
    throw new Error(`The photo is too large: send at most ${largest / 1e6} MB.`);
  }
  const form = new FormData();
  form.append("file", file);
  let response;
  try {
    response = await fetch("api/classify?heat=1", { method: "POST", body: form });
  } catch {
    throw new Error("The server does not answer: is it still running?");
  }
  // A proxy in between may answer with a page.
  const answer = await response.json().catch(() => ({ error: `The server answered with ${response.status}.` }));
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function show(card, answer) {
  const list = card.querySelector("ol");
  for (const { name, probability } of answer.classes.slice(0, SHOWN)) {
    const percent = `${(100 * probability).toFixed(1)} %`;
    const label = element("span", "label", [element("bdi", "", name), element("span", "", percent)]);
    const fill = document.createElement("i");
    fill.style.width = `${100 * probability}%`;
    list.append(element("li", "", [label, element("span", "track", [fill])]));
  }
  list.hidden = false;
  const time = card.querySelector(".time");
  time.textContent = `${Math.round(1000 * answer.seconds)} ms`;
  time.hidden = false;
  if (answer.heat) paint(card.querySelector("canvas"), answer.heat);
  byId("live").textContent = `${card.querySelector(".name").textContent}: ${answer.classes[0].name}`;
}

function fail(card, message) {
  const failure = card.querySelector(".failure");
  failure.textContent = message;
  failure.hidden = false;
  byId("live").textContent = `${card.querySelector(".name").textContent}: ${message}`;
}

function element(tag, name, content) {
  const created = document.createElement(tag);
  if (name) created.className = name;
  created.append(...(Array.isArray(content) ? content : [content]));
  return created;
}

// One pixel per position of the network's feature map; the browser smooths it over the part of the photo it covers.
function paint(canvas, { values, box }) {
  canvas.height = values.length;
  canvas.width = values[0].length;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  values.flat().forEach((value, index) => {
    const at = value * (SCALE.length - 1);
    const low = Math.min(Math.floor(at), SCALE.length - 2);
    const colour = SCALE[low].map((part, channel) => part + (at - low) * (SCALE[low + 1][channel] - part));
    pixels.data.set([...colour, 255 * value], 4 * index);
  });
  context.putImageData(pixels, 0, 0);
  const [top, left, bottom, right] = box.map((fraction) => 100 * fraction);
  Object.assign(canvas.style, {
    top: `${top}%`, left: `${left}%`, height: `${bottom - top}%`, width: `${right - left}%`,
  });
  canvas.hidden = false;
}

function dragging(event, is) {
  if (![...event.dataTransfer.types].includes("Files")) return;
  event.preventDefault();
  document.body.classList.toggle("dragging", is);
}

document.addEventListener("dragover", (event) => dragging(event, true));
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) dragging(event, false); });
document.addEventListener("drop", (event) => {
  dragging(event, false);
  add(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => add(event.clipboardData.files));
byId("files").addEventListener("change", (event) => {
  add(event.target.files);
  event.target.value = "";
});
byId("heat").addEventListener("change", (event) => document.body.classList.toggle("plain", !event.target.checked));
byId("clear").addEventListener("click", () => {
  waiting.length = 0;
  document.querySelectorAll("#results img").forEach((image) => URL.revokeObjectURL(image.src));
  byId("results").replaceChildren();
  byId("bar").hidden = true;
});

fetch("health").then((response) => response.json()).then((health) => {
  largest = health.max_bytes;
  byId("model").textContent = `The run ${health.run} knows ${health.classes} classes. Photos stay on the machine that runs it.`;
  byId("limit").textContent = `Up to ${largest / 1e6} MB each.`;
});
