// The form's words come from the server in English. Those in a table are translated whenever Gradio draws them. The view is left alone: its
// words are in the right language already, and a model's text must not be translated.

const SAID = ["title", "aria-label", "placeholder", "alt"]; // attributes that people hear or read

const isElement = (node) => node.nodeType === Node.ELEMENT_NODE;
const isLeftAlone = (node) => (isElement(node) ? node.closest(".eesd, script, style") : node.parentElement?.closest(".eesd, textarea, script, style"));

export function translate(root, table) {
  const say = (node) => {
    for (const name of SAID) {
      const text = isElement(node) && node.getAttribute(name);
      if (text && Object.hasOwn(table, text)) node.setAttribute(name, table[text]);
    }
    const text = isElement(node) ? "" : node.nodeValue.trim();
    if (text && Object.hasOwn(table, text)) node.nodeValue = node.nodeValue.replace(text, table[text]);
  };
  const sayAll = (top) => {
    if (isLeftAlone(top)) return;
    const accept = (node) => (isLeftAlone(node) ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT);
    const walker = document.createTreeWalker(top, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT, accept);
    for (let node = top; node; node = walker.nextNode()) say(node);
  };
  sayAll(root);
  const changes = { childList: true, characterData: true, subtree: true, attributeFilter: SAID };
  new MutationObserver((list) => list.forEach(({ target }) => sayAll(target))).observe(root, changes);
}
