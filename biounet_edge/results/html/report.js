"use strict";

// Layers are shown and hidden by the style sheet alone. This sorts the cards and shows one of them enlarged.
(() => {
  const byId = (id) => document.getElementById(id);
  const gallery = byId("gallery");
  const enlarged = byId("enlarged");
  const names = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const cards = Array.from(gallery.children, (element) => ({
    element,
    name: element.dataset.name,
    order: Number(element.dataset.order),
    probability: Number(element.dataset.probability),
  }));
  const orders = {
    input: () => 0,
    highest: (a, b) => b.probability - a.probability,
    lowest: (a, b) => a.probability - b.probability,
    name: (a, b) => names.compare(a.name, b.name),
  };
  let shown = 0; // index in cards of the enlarged one

  const sort = () => {
    const compare = orders[byId("order").value];
    cards.sort((a, b) => compare(a, b) || a.order - b.order);
    gallery.append(...cards.map((card) => card.element));
    const chosen = byId("order").selectedOptions[0];
    byId("status").textContent = `${cards.length} photographs sorted by ${chosen.textContent}`;
  };

  const show = (index) => {
    shown = (index + cards.length) % cards.length;
    const card = cards[shown].element;
    const picture = document.createElement("div");
    picture.className = "picture";
    picture.append(...Array.from(card.querySelector(".picture").children, (child) => child.cloneNode(true)));
    picture.querySelector(".photograph").alt = `Photograph ${cards[shown].name}`;
    const findings = document.createElement("div");
    findings.className = "findings";
    findings.append(...[".verdict", ".explanation"].map((part) => card.querySelector(part).cloneNode(true)));
    byId("enlarged-content").replaceChildren(picture, findings);
    byId("position").textContent = `${shown + 1} of ${cards.length}`;
  };

  const open = (card) => {
    show(cards.findIndex((other) => other.element === card));
    byId("layers-enlarged").append(byId("layers")); // one set of boxes: what is chosen here stays chosen
    enlarged.showModal();
    byId("close").focus();
  };

  const leave = () => {
    byId("layers-home").append(byId("layers"));
    byId("enlarged-content").replaceChildren();
    const button = cards[shown].element.querySelector(".picture");
    button.focus({ preventScroll: true });
    button.scrollIntoView({ block: "nearest" });
  };

  const turn = (event) => {
    const steps = { ArrowLeft: shown - 1, ArrowRight: shown + 1, Home: 0, End: cards.length - 1 };
    if (event.key in steps && !event.altKey && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      show(steps[event.key]);
    }
  };

  const notice = document.querySelector("body > .notice");
  const toolbar = document.querySelector(".toolbar");
  const bars = new ResizeObserver(() => {
    const above = notice ? notice.offsetHeight : 0;
    const sticky = getComputedStyle(toolbar).position === "sticky"; // not in a narrow window
    toolbar.style.top = `${above}px`;
    document.documentElement.style.scrollPaddingTop = `${above + (sticky ? toolbar.offsetHeight : 0)}px`;
  });
  for (const bar of [notice, toolbar]) if (bar) bars.observe(bar);

  document.documentElement.classList.add("scripted");
  byId("order").addEventListener("change", sort);
  byId("print").addEventListener("click", () => window.print());
  byId("previous").addEventListener("click", () => show(shown - 1));
  byId("next").addEventListener("click", () => show(shown + 1));
  byId("close").addEventListener("click", () => enlarged.close());
  enlarged.addEventListener("close", leave);
  enlarged.addEventListener("keydown", turn);
  gallery.addEventListener("click", (event) => {
    const button = event.target.closest("button.picture");
    if (button) open(button.closest(".card"));
  });
})();
