// What only the program knows. When it joins the scripts (eesd_core/export/scripts.py) it puts the real values in place of these.

export const schema = {}; // the fields of every record type (eesd_core/schema.py)
export const page = {}; // of the app alone: form, facts, levels, host, studies, opening race, address of plotly.js (app/page.py)
