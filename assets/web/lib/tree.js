// Where the drafts of a round stand in the picture of their tree: columns are places of the text, the spine is the first line, and a branch goes
// along a line of its own below. Pure, so that Node can run it.

// parents: of every draft, the number of the draft that it continues, or -1. Gives for each its column, its line, and whether it begins a branch.
export function layout(parents) {
  const cells = [];
  const going = new Set(); // drafts that something continues on their own line
  const ends = []; // of every line, the first column that is free
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
