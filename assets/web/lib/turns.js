// Earlier turns of a conversation: [[request, reply], ...], as JSON in the form and in links. Hostile until checked here. No DOM.

const isTurn = (turn) => Array.isArray(turn) && turn.length === 2 && turn.every((text) => typeof text === "string");

// The turns in a list or its JSON ("" means none); null for anything else.
export function turnsOf(given) {
  try {
    const turns = typeof given === "string" ? JSON.parse(given || "[]") : given;
    return Array.isArray(turns) && turns.every(isTurn) ? turns : null;
  } catch {
    return null;
  }
}

export const lengthOf = (turns) => turns.flat().reduce((sum, text) => sum + [...text].length, 0);
