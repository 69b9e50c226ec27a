// The document, in fewer words.

/** The element with an id. */
export const $ = (id) => document.getElementById(id);

/** An element; `options` are properties, or attributes where their name has a dash or is `role`. Children may be text. */
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

/** Tell screen readers, when they have a moment. */
export function say(text) {
  $("said").textContent = text;
}

/** One row of radio buttons that look like a switch; `choose` is told the value. */
export function segments(group, name, choices, chosen, choose) {
  group.replaceChildren(
    ...choices.map(([value, text]) => {
      const input = element("input", { type: "radio", name, value, checked: value === chosen });
      input.addEventListener("change", () => choose(value));
      return element("label", {}, input, element("span", {}, text));
    }),
  );
}
