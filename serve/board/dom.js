// The document, in fewer words.

/** The element with an id. */
export const $ = (id) => document.getElementById(id);

/** An element; `options` are properties, or attributes where a name has a dash or is `role`. Children may be text. */
export function element(name, options = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(options)) {
    if (key.includes("-") || key === "role") made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children);
  return made;
}

/** An element of SVG with attributes. */
export function drawn(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Put something else into `box`; focus stays on the button of the same entity. */
export function refill(box, ...content) {
  const focused = box.contains(document.activeElement) && document.activeElement.closest("[data-entity]");
  box.replaceChildren(...content);
  if (focused) box.querySelector(`[data-entity="${CSS.escape(focused.dataset.entity)}"] button`)?.focus();
}

/** Tell screen readers, when they have a moment. */
export function say(text) {
  $("said").textContent = text;
}

/** One row of radio buttons that look like a switch; `choose` is told the value. */
export function segments(group, name, choices, chosen, choose) {
  const inputs = [...group.querySelectorAll("input")];
  if (inputs.map((input) => input.value).join() === choices.map(([value]) => value).join()) {
    for (const input of inputs) input.checked = input.value === chosen;
    return;
  }
  group.replaceChildren(
    ...choices.map(([value, text]) => {
      const input = element("input", { type: "radio", name, value, checked: value === chosen });
      input.addEventListener("change", () => choose(value));
      return element("label", {}, input, element("span", {}, text));
    }),
  );
}
