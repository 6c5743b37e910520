// Placeholders for values that only the program knows. eesd_core/export/scripts.py replaces them when it joins the scripts.

export const schema = {}; // the fields of every record type (eesd_core/schema.py)
export const page = {}; // for the app only: form, facts, levels, host, studies, opening race, address of plotly.js (app/page.py)
