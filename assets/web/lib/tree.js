// The layout of a round's drafts as a tree: columns are positions in the text, the spine is the first line, and each branch has its own line
// below. A pure function, so that Node can run it.

// `parents`: for every draft the index of the draft that it continues, or -1. Returns each draft's column, line, and whether it begins a branch.
export function layout(parents) {
  const cells = [];
  const going = new Set(); // drafts that are continued on their own line
  const ends = []; // the first free column of every line
  parents.forEach((parent, i) => {
    const column = parent < 0 ? 0 : cells[parent].column + 1;
    const first = !going.has(parent) && (parent < 0 ? i === 0 : ends[cells[parent].line] <= column);
    const above = parent < 0 ? 0 : cells[parent].line;
    let line = first ? above : above + 1;
    if (!first) while ((ends[line] ?? 0) > column) line += 1;
    if (first) going.add(parent);
    ends[line] = column + 1;
    cells.push({ column, line, branch: !first });
  });
  return cells;
}
